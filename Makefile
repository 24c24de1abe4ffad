# `make demo` and `make test` do all their own set-up; everything else is for people who work on Retort.
JOBS ?= $(shell nproc)
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: demo test build setup format format-check sanitize fuzz-smoke clean

demo: setup
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS) --target retort retortd retort-train
	$(BUILD)/bin/retort demo

test: setup build
	ctest --preset $(PRESET) -j$(JOBS)

build:
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS)

setup:
	deploy/setup/debian.sh

# The unit tests of the libraries under AddressSanitizer with UBSan, then under ThreadSanitizer.
sanitize:
	for preset in asan tsan; do \
	  cmake --preset $$preset && cmake --build build/$$preset -j$(JOBS) --target unit_tests && \
	  ctest --preset $$preset -j$(JOBS) || exit 1; \
	done

# Every libFuzzer target for a few seconds; needs clang (deploy/setup/debian.sh --tools).
fuzz-smoke:
	cmake --preset fuzz
	cmake --build build/fuzz -j$(JOBS) --target fuzz_targets
	ctest --preset fuzz -j$(JOBS)

format:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format -i

format-check:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

clean:
	rm -rf build out
