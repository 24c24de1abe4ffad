// Threads that work through the short parallel loops of one inference step, thousands of times per second.
//
// A step of a small model is a few hundred loops of tens of microseconds, so the crew spins between them and
// sleeps only when nothing has come for a while. Tasks are claimed one at a time from a ticket that also
// names the loop: a thread that the system has paused cannot hold up a loop unless it is in the middle of one
// of its tasks.
#ifndef STUDENT_INFERENCE_STEP_CREW_H_
#define STUDENT_INFERENCE_STEP_CREW_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace retort::student {

class StepCrew {
 public:
  // `threads` >= 1 (asserted), the caller of Run included.
  explicit StepCrew(int32_t threads);
  // Joins. No Run may be in progress.
  ~StepCrew();
  StepCrew(const StepCrew&) = delete;
  StepCrew& operator=(const StepCrew&) = delete;

  // CPUs that this process may run on, at least 1.
  static int32_t DefaultThreads();

  int32_t threads() const { return static_cast<int32_t>(workers_.size()) + 1; }

  // Calls body(task, worker) once for every task in [0, tasks) and returns when all are done; worker is in
  // [0, threads()) and names the scratch memory that the call may use. What tasks wrote is visible
  // afterwards. One caller at a time.
  template <typename Body>
  void Run(int32_t tasks, const Body& body) {
    RunErased(
        tasks,
        [](const void* b, int32_t task, int32_t worker) { (*static_cast<const Body*>(b))(task, worker); },
        &body);
  }

 private:
  using Call = void (*)(const void* body, int32_t task, int32_t worker);

  void RunErased(int32_t tasks, Call call, const void* body);
  void Work(int32_t worker);
  // Claims and runs tasks of the loop that `ticket` names until none is left.
  void WorkOn(uint64_t ticket, int32_t worker);

  // Loop number in the upper half (odd while the fields below are being set), next task in the lower.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> body_{nullptr};
  std::atomic<int32_t> tasks_{0};
  std::atomic<int32_t> done_{0};
  std::atomic<int32_t> sleepers_{0};
  std::atomic<uint32_t> wake_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace retort::student

#endif  // STUDENT_INFERENCE_STEP_CREW_H_
