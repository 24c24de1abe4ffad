# `make demo` and `make test` do all their own set-up; everything else is for people who work on Retort.
JOBS ?= $(shell nproc)
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: demo test build setup format format-check clean

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

format:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format -i

format-check:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

clean:
	rm -rf build out
