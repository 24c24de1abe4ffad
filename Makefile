# `make demo` and `make test` do all their own set-up; everything else is for people who work on Retort.
JOBS ?= $(shell nproc)
PRESET ?= release
BUILD := build/$(PRESET)

.PHONY: demo test test-kubernetes test-clients drill load build setup kernels lint format format-check sanitize sanitize-smoke fuzz-smoke clean

demo: setup
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS) --target retort retortd retort-train
	$(BUILD)/bin/retort demo

test: setup kernels build
	ctest --preset $(PRESET) -j$(JOBS)

# The chart, the Kustomize tree and the launcher's rights on a real control plane, which is built from Go modules the first time
# (tests/kubernetes/build.sh: 25 CPU-minutes). ARGS=--only=render picks a part.
ARGS ?=
test-kubernetes: setup
	tests/kubernetes/build.sh >/dev/null
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS) --target retort retortd
	/usr/bin/python3 -B tests/kubernetes/kubernetes_test.py --bin $(BUILD)/bin $(ARGS)

# Faults at real processes: what happens to a job, and which alerts fire (half an hour, of which a teacher is down for ten
# minutes). ARGS=--only=kill picks one. Needs the packages prometheus and nftables.
drill: setup
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS) --target retort retortd retort-train load_clients
	/usr/bin/python3 -B tests/drill/drill.py --bin $(BUILD)/bin $(ARGS)

# A thousand clients at twice what a server can answer, for five minutes.
load: setup
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS) --target retort retortd load_clients
	/usr/bin/python3 -B tests/bench/load_bench.py --bin $(BUILD)/bin $(ARGS)

# Public clients against a real server: the Connect conformance runner, the Node example, grpcurl over every method. Needs Go and Node;
# what it builds and installs is cached (tests/clients/build.sh). ARGS=Conformance picks a part.
test-clients: setup
	cmake --preset $(PRESET) -DRETORT_CONFORMANCE_PROTO=$$(tests/clients/build.sh)/proto
	cmake --build $(BUILD) -j$(JOBS) --target retortd retort-train conformance_server
	/usr/bin/python3 -B tests/clients/clients_test.py --bin $(BUILD)/bin --clients $$(tests/clients/build.sh) $(ARGS)

build:
	cmake --preset $(PRESET)
	cmake --build $(BUILD) -j$(JOBS)

setup:
	deploy/setup/debian.sh

# Compiles every CUDA kernel for one kind of device and links the library; no GPU is needed. The toolkit is the one that
# is installed, or NVIDIA's wheels in the cache folder. CUDA=off leaves it out, for machines without a network.
CUDA ?= on
kernels:
ifeq ($(CUDA),on)
	deploy/setup/cuda.sh
	cmake -S student -B build/kernels -G Ninja -DCMAKE_BUILD_TYPE=Release -DRETORT_CUDA=ON -DRETORT_CUDA_ARCHITECTURES=90 \
	  -DRETORT_STUDENT_HOST=OFF -DRETORT_TESTS=OFF
	cmake --build build/kernels -j$(JOBS) --target retort_cuda
	/usr/bin/python3 student/bench/kernel_report.py build/kernels --check
endif

# The unit tests of the libraries under AddressSanitizer with UBSan, then under ThreadSanitizer.
sanitize:
	for preset in asan tsan; do \
	  cmake --preset $$preset && cmake --build build/$$preset -j$(JOBS) --target unit_tests && \
	  ctest --preset $$preset -j$(JOBS) || exit 1; \
	done

# Of that, what handles raw memory under the one and what works with threads under the other.
sanitize-smoke:
	for preset in asan tsan; do \
	  cmake --preset $$preset && cmake --build build/$$preset -j$(JOBS) --target smoke_$$preset && \
	  ctest --preset smoke-$$preset -j$(JOBS) || exit 1; \
	done

# Every libFuzzer target for a few seconds; needs clang (deploy/setup/debian.sh --tools).
fuzz-smoke:
	cmake --preset fuzz
	cmake --build build/fuzz -j$(JOBS) --target fuzz_targets
	ctest --preset fuzz -j$(JOBS)

# Shell scripts and the shape of the tree; the compilers' warnings are on in every build.
lint:
	shellcheck $$(git ls-files '*.sh') .ci/run
	/usr/bin/python3 tests/style/check_tree.py

format:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format -i

format-check:
	git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format --dry-run -Werror

clean:
	rm -rf build out
