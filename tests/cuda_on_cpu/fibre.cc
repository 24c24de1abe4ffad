#include "tests/cuda_on_cpu/fibre.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define RETORT_ASAN_FIBRES
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RETORT_ASAN_FIBRES
#endif
#endif
#ifdef RETORT_ASAN_FIBRES
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace retort::cuda_on_cpu {
namespace {

#ifdef RETORT_ASAN_FIBRES
constexpr std::size_t kStackBytes = 256 * 1024;  // red zones around every local
#else
constexpr std::size_t kStackBytes = 64 * 1024;
#endif
constexpr std::size_t kGuardBytes = 4096;

}  // namespace

struct FibreContext {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t machine;
#endif
  void (*entry)() = nullptr;
  char* mapping = nullptr;             // null for the caller's own stack
  const void* stack_bottom = nullptr;  // for AddressSanitizer
  std::size_t stack_bytes = 0;
  void* fake_stack = nullptr;
};

namespace {
// Who switches to whom; read on the other side. One thread runs fibres at a time (the caller holds the
// device's lock).
FibreContext* switching_from = nullptr;
FibreContext* switching_to = nullptr;
}  // namespace

#if defined(__x86_64__)
extern "C" void RetortSwitchStack(void** saved, void* next);
// The callee-saved registers of the System V ABI go on the old stack and come from the new one. Kernels do
// not change the rounding mode, so the control words stay.
asm(R"(
.text
.p2align 4
.globl RetortSwitchStack
.type RetortSwitchStack,@function
RetortSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size RetortSwitchStack,.-RetortSwitchStack
)");
#endif

namespace {
void FinishSwitch([[maybe_unused]] FibreContext* resumed) {
#ifdef RETORT_ASAN_FIBRES
  __sanitizer_finish_switch_fiber(resumed->fake_stack, &switching_from->stack_bottom,
                                  &switching_from->stack_bytes);
#endif
}
}  // namespace

void FibreEntry() {
  FinishSwitch(switching_to);
  switching_to->entry();
  std::abort();  // an entry never returns
}

Fibre::Fibre() : context_(std::make_unique<FibreContext>()) {}

Fibre::Fibre(void (*entry)()) : Fibre() {
  void* mapping = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED || mprotect(mapping, kGuardBytes, PROT_NONE) != 0) {
    std::perror("cuda_on_cpu: no memory for the stack of a fibre");
    std::abort();
  }
  context_->entry = entry;
  context_->mapping = static_cast<char*>(mapping);
  context_->stack_bottom = context_->mapping + kGuardBytes;
  context_->stack_bytes = kStackBytes;
#if defined(__x86_64__)
  // From the top: a null return address, the entry for `ret`, six registers.
  auto* top = reinterpret_cast<void**>(context_->mapping + kGuardBytes + kStackBytes);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&FibreEntry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context_->stack_pointer = top;
#else
  getcontext(&context_->machine);
  context_->machine.uc_stack.ss_sp = context_->mapping + kGuardBytes;
  context_->machine.uc_stack.ss_size = kStackBytes;
  context_->machine.uc_link = nullptr;
  makecontext(&context_->machine, &FibreEntry, 0);
#endif
}

Fibre::~Fibre() {
  if (context_->mapping == nullptr) return;
#ifdef RETORT_ASAN_FIBRES
  __asan_unpoison_memory_region(context_->mapping, kStackBytes + kGuardBytes);
#endif
  munmap(context_->mapping, kStackBytes + kGuardBytes);
}

void Fibre::Switch(Fibre* from_fibre, Fibre* to_fibre) {
  FibreContext* from = from_fibre->context_.get();
  FibreContext* to = to_fibre->context_.get();
  switching_from = from;
  switching_to = to;
#ifdef RETORT_ASAN_FIBRES
  __sanitizer_start_switch_fiber(&from->fake_stack, to->stack_bottom, to->stack_bytes);
#endif
#if defined(__x86_64__)
  RetortSwitchStack(&from->stack_pointer, to->stack_pointer);
#else
  swapcontext(&from->machine, &to->machine);
#endif
  FinishSwitch(from);
}

}  // namespace retort::cuda_on_cpu
