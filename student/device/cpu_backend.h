// The backend that computes on this processor: student/ops with their fast paths, memory of the host. An
// operator is done when its call returns, and its bits are those of the operator called directly, the same
// for any number of threads. compute is always fp32.
#ifndef STUDENT_DEVICE_CPU_BACKEND_H_
#define STUDENT_DEVICE_CPU_BACKEND_H_

#include <memory>

#include "student/device/backend.h"
#include "student/tensor/isa.h"
#include "student/threads/thread_pool.h"

namespace retort::student {

// pool must outlive it. This machine supports isa (asserted); tests pass Isa::kPlain for the reference.
std::unique_ptr<Backend> MakeCpuBackend(ThreadPool& pool, Isa isa = BestIsa());

}  // namespace retort::student

#endif  // STUDENT_DEVICE_CPU_BACKEND_H_
