// A fixed set of threads that work through the tasks of one parallel loop.
//
// The rule that makes training repeatable: a loop is cut into tasks by the shapes alone, never by the number
// of threads, and each task writes only outputs that no other task of the same loop touches. Which thread
// runs a task is then invisible in the result, so 1 thread and 64 threads give the same bits.
//
//   pool.Run(tiles, [&](std::int64_t tile, int worker) { Multiply(tile, &scratch[worker]); });
#ifndef STUDENT_THREADS_THREAD_POOL_H_
#define STUDENT_THREADS_THREAD_POOL_H_

#include <cstdint>
#include <functional>
#include <memory>

namespace retort::student {

class ThreadPool {
 public:
  // Starts threads - 1 threads; the caller of Run is the remaining one. threads >= 1 (asserted).
  explicit ThreadPool(int threads);
  // Joins them. No Run may be in progress.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // One thread per core that this process may run on (its affinity mask), at least 1.
  static int DefaultThreads();

  int size() const { return threads_; }

  // Calls task(index, worker) once for every index in [0, tasks) and returns when all are done. Tasks start
  // in index order, so put long ones first. worker is in [0, size()) and names the scratch memory this call
  // may use; it must not influence results. What tasks wrote is visible to the caller afterwards. Tasks must
  // not throw and must not call Run. Run itself is for one caller at a time (asserted).
  void Run(std::int64_t tasks, const std::function<void(std::int64_t task, int worker)>& task);

 private:
  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

}  // namespace retort::student

#endif  // STUDENT_THREADS_THREAD_POOL_H_
