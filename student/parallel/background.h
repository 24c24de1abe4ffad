// One thread that works through what it is given, in order.
#ifndef STUDENT_PARALLEL_BACKGROUND_H_
#define STUDENT_PARALLEL_BACKGROUND_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace retort::student {

class Background {
 public:
  Background();
  ~Background();  // finishes what it was given
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  void Add(std::function<void()> work);
  // Returns when everything added so far is done; what it wrote is then visible.
  void Wait();

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  bool busy_ = false, stop_ = false;
  std::thread thread_;
};

}  // namespace retort::student

#endif  // STUDENT_PARALLEL_BACKGROUND_H_
