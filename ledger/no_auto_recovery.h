// Keeps a RocksDB database stopped after a write that failed, until its owner opens it again or calls Resume.
//
// Left alone, RocksDB 7.8 tries to go on by itself when the disk was full: it writes to the files that have
// just failed, and where the disk is still full its assertions, which Debian's build has on, end the process
// with every job in it. Reads go on working in a database that is stopped.
//
//   options.listeners.push_back(std::make_shared<NoAutoRecovery>());
//
// Stateless; any thread.
#ifndef LEDGER_NO_AUTO_RECOVERY_H_
#define LEDGER_NO_AUTO_RECOVERY_H_

#include <rocksdb/listener.h>

namespace retort::ledger {

class NoAutoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status error,
                            bool* auto_recovery) override {
    error.PermitUncheckedError();  // whoever wrote has it too
    *auto_recovery = false;
  }
};

}  // namespace retort::ledger

#endif  // LEDGER_NO_AUTO_RECOVERY_H_
