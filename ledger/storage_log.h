// Where RocksDB writes what it has to say: errors to standard error, the rest nowhere.
//
// Its own log is a file beside the database. On a full disk that file fails first, and the next line written
// to it trips an assertion, which Debian's build has on, so that a database that would only have refused a
// write takes the process with it.
//
//   options.info_log = std::make_shared<StorageLog>();
//
// Any thread: one line is one write.
#ifndef LEDGER_STORAGE_LOG_H_
#define LEDGER_STORAGE_LOG_H_

#include <rocksdb/env.h>

#include <cstdarg>
#include <cstdio>

namespace retort::ledger {

class StorageLog final : public rocksdb::Logger {
 public:
  StorageLog() : Logger(rocksdb::InfoLogLevel::ERROR_LEVEL) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    char line[1024];
    std::vsnprintf(line, sizeof line, format, arguments);
    std::fprintf(stderr, "storage: %s\n", line);
  }
};

}  // namespace retort::ledger

#endif  // LEDGER_STORAGE_LOG_H_
