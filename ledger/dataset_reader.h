// The door between ledger and training: turns a stream of stored samples into ApprovedSamples, checking
// everything.
//
//   auto reader = DatasetReader::Open(options, header);
//   while (stream has one more) samples.push_back(reader->Read(next));   // each is a
//   StatusOr<ApprovedSample> absl::Status complete = reader->Finish();
//
// The reader trusts one thing: the log's vkey. From it follow the checkpoint, from that by inclusion proofs
// the KEY and DATASET entries, from those the manifest and the keys of teachers and policy services, and from
// those each sample. Where the bytes come from does not matter. A reader belongs to one thread.
#ifndef LEDGER_DATASET_READER_H_
#define LEDGER_DATASET_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ledger/approved_sample.h"
#include "ledger/checkpoint.h"
#include "ledger/digest.h"
#include "ledger/statement.h"

namespace retort::ledger {

struct ProvenLeaf {
  uint64_t index = 0;
  std::string leaf;
  std::vector<Digest> proof;  // inclusion under the header's checkpoint
};

struct DatasetHeader {
  std::string checkpoint_note;
  ProvenLeaf dataset;            // the DATASET entry
  std::string manifest;          // that it names
  std::vector<ProvenLeaf> keys;  // KEY entries, ascending by index
};

struct ProvenSample {
  ProvenLeaf leaf;      // a SAMPLE entry
  std::string payload;  // serialised retort.teacher.v1.SamplePayload
  std::string salt;     // 32 bytes
  // What admits a sample whose own decision is review, in log order: the newest DECISION about it, if there
  // is one, and the REVIEW that approved it, unless that DECISION allows it. Empty for others.
  std::vector<ProvenLeaf> admission;
};

struct DatasetReaderOptions {
  std::string log_vkey;        // the one trusted thing; its name is the origin
  std::string project;         // projects/{project}
  uint64_t dataset_entry = 0;  // index that the caller asked for
  std::string job_uid;         // empty: whichever job the dataset names
  std::string split;           // train, held_out, or empty for both: what the stream will hold
};

class DatasetReader {
 public:
  // Checks the header: checkpoint signature and origin, inclusion of the DATASET and KEY entries, their
  // signatures by the log, project and job, and the manifest's digest and form. InvalidArgument for malformed
  // bytes or options and for a header of another project, job or entry; DataLoss for every signature, proof
  // or digest that does not verify.
  static absl::StatusOr<DatasetReader> Open(DatasetReaderOptions options, const DatasetHeader& header);

  DatasetReader(DatasetReader&&) noexcept;
  DatasetReader& operator=(DatasetReader&&) noexcept;
  ~DatasetReader();

  // Checks the next sample in manifest order: listed there with this index, leaf hash, prompt and split;
  // included; capture signed by a registered teacher key and decision by a registered policy key; the
  // decision is about this capture and allows it, or asks for a review and `admission` proves that a person
  // approved before the dataset was frozen; project and job are the dataset's; salted digest of the payload;
  // arrays of the payload fit each other. DataLoss when bytes do not match what is signed; PermissionDenied
  // when the decision does not allow the sample; InvalidArgument for malformed bytes; FailedPrecondition when
  // the manifest has no further sample. After an error the reader stays where it was.
  absl::StatusOr<ApprovedSample> Read(const ProvenSample& sample);

  // OK when every sample of the split was read; DataLoss with the number missing otherwise.
  absl::Status Finish() const;

  const Checkpoint& checkpoint() const;
  const DatasetStatement& statement() const;
  // Samples that the stream holds altogether, for the split in the options.
  uint64_t sample_count() const;

 private:
  class Impl;
  explicit DatasetReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace retort::ledger

#endif  // LEDGER_DATASET_READER_H_
