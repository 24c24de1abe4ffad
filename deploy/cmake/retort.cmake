# Build rules that every folder shares: the language level, warnings, sanitizers, and one function each for a library,
# a program and a test. Included by the top CMakeLists.txt and by student/CMakeLists.txt when it is built alone.
include_guard(GLOBAL)

get_filename_component(RETORT_ROOT "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(CMAKE_CXX_STANDARD 20) # Debian's Abseil and gRPC are used from C++20 everywhere
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2") # assertions stay on: a broken invariant ends the process, in production too
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")

find_program(RETORT_CCACHE ccache)
if(RETORT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${RETORT_CCACHE})
endif()

if(RETORT_CUDA)
  include(${CMAKE_CURRENT_LIST_DIR}/cuda.cmake)
endif()

find_package(Threads REQUIRED)

add_library(retort_settings INTERFACE)
target_include_directories(retort_settings INTERFACE ${RETORT_ROOT})
target_compile_options(retort_settings INTERFACE -Wall -Wextra -Wno-missing-field-initializers -Werror=return-type
  -ffp-contract=off) # one product rounds once, whatever the instruction set: the same bits everywhere we promise them
find_program(RETORT_MOLD mold)
if(RETORT_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_link_options(retort_settings INTERFACE -fuse-ld=mold)
endif()
if(RETORT_SANITIZER STREQUAL "address")
  target_compile_options(retort_settings INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(retort_settings INTERFACE -fsanitize=address,undefined)
elseif(RETORT_SANITIZER STREQUAL "thread")
  target_compile_options(retort_settings INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(retort_settings INTERFACE -fsanitize=thread)
elseif(RETORT_SANITIZER)
  message(FATAL_ERROR "RETORT_SANITIZER is '${RETORT_SANITIZER}'; wanted address, thread, or empty")
endif()

# retort_library(ledger::merkle SOURCES a.cc [PUBLIC lib...] [PRIVATE lib...])
# Makes the static library ledger_merkle with the alias ledger::merkle; without SOURCES, a header-only one.
function(retort_library alias)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  string(REPLACE "::" "_" name ${alias})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} retort_settings)
    target_include_directories(${name} PUBLIC ${RETORT_ROOT})
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${RETORT_ROOT})
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
  endif()
  add_library(${alias} ALIAS ${name})
endfunction()

# retort_device_sources(rms_norm.cu router.cu...)
# Names this folder's device files. The list is compiled twice: by nvcc into libretort_cuda.so when RETORT_CUDA is on,
# and as plain C++ by tests/cuda_on_cpu. So a kernel is in both or in neither. Read it with
#   get_property(files GLOBAL PROPERTY RETORT_DEVICE_SOURCES)   # absolute paths
function(retort_device_sources)
  foreach(file IN LISTS ARGN)
    get_filename_component(path ${file} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
    set_property(GLOBAL APPEND PROPERTY RETORT_DEVICE_SOURCES ${path})
  endforeach()
endfunction()

# retort_program(retortd SOURCES main.cc LINK lib...)
function(retort_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} retort_settings Threads::Threads)
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>) # as libraries: precompiled headers serve both
endfunction()

# retort_precompiled(gtest_headers HEADERS <gtest/gtest.h>... LINK GTest::gtest)
# A target whose headers are parsed once; targets with the same flags take them by
# target_precompile_headers(… REUSE_FROM gtest_headers).
function(retort_precompiled name)
  cmake_parse_arguments(ARG "" "" "HEADERS;LINK" ${ARGN})
  file(GENERATE OUTPUT ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc CONTENT "")
  add_library(${name} STATIC ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} retort_settings Threads::Threads)
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
endfunction()

# What the sanitizer and the fuzz presets build: `cmake --build … --target unit_tests`, or of those what every change must
# pass under one sanitizer.
add_custom_target(unit_tests)
add_custom_target(smoke_asan)
add_custom_target(smoke_tsan)
add_custom_target(fuzz_targets)

# retort_test(ledger_test SOURCES a_test.cc... LINK lib... [SMOKE asan tsan] [EXCEPT thread] [LABEL integration]
#             [TIMEOUT seconds] [PRECOMPILED target])
# One GoogleTest executable; each TEST in it is one ctest test. Without a LABEL it is a unit test. SMOKE names the sanitizers
# under which `make sanitize-smoke` runs it: asan for what handles raw memory, tsan for what works with threads. They are
# joined to its label by dots, as unit.asan, and a label is matched as a regular expression. EXCEPT names sanitizers
# (values of RETORT_SANITIZER) under which it takes too long to be a unit test; it is label long there. PRECOMPILED names the target
# whose precompiled headers it takes, by default GoogleTest's.
function(retort_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;PRECOMPILED;LABEL" "SOURCES;LINK;SMOKE;EXCEPT" ${ARGN})
  if(RETORT_SANITIZER AND RETORT_SANITIZER IN_LIST ARG_EXCEPT)
    set(ARG_LABEL long)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  find_package(GTest REQUIRED)
  include(GoogleTest)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock_main GTest::gtest retort_settings Threads::Threads)
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fPIC>)
  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED gtest_headers)
    if(NOT TARGET gtest_headers)
      retort_precompiled(gtest_headers HEADERS <gmock/gmock.h> <gtest/gtest.h> LINK GTest::gmock GTest::gtest)
    endif()
  endif()
  target_precompile_headers(${name} REUSE_FROM ${ARG_PRECOMPILED})
  target_compile_definitions(${name} PRIVATE RETORT_SOURCE_DIR="${RETORT_ROOT}")
  if(NOT ARG_LABEL)
    list(JOIN ARG_SMOKE "." ARG_LABEL)
    string(JOIN "." ARG_LABEL unit ${ARG_LABEL})
    add_dependencies(unit_tests ${name})
    foreach(sanitizer IN LISTS ARG_SMOKE)
      add_dependencies(smoke_${sanitizer} ${name})
    endforeach()
  endif()
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# retort_gpu_test(device_ops_gpu SOURCES main.cc LINK lib... [TIMEOUT seconds])
# A test on a real device: a plain program, linked with the device files as nvcc made them (retort_cuda). It prints a line
# for each case and exits with 0 when all hold, 1 when one does not, and 77 when there is no device, which ctest shows as
# skipped. It needs no GoogleTest, since a GPU machine may have only CMake, a compiler and the toolkit; so what it tests is
# a library with a second, GoogleTest front for the machines without a device. Label gpu; nothing without RETORT_CUDA.
function(retort_gpu_test name)
  if(NOT RETORT_CUDA)
    return()
  endif()
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  retort_program(${name} SOURCES ${ARG_SOURCES} LINK ${ARG_LINK} retort_cuda)
  add_test(NAME gpu.${name} COMMAND ${name})
  set_tests_properties(gpu.${name} PROPERTIES LABELS gpu TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

# retort_fuzz(ledger_entry_fuzz SOURCES entry_fuzz.cc LINK lib... CORPUS dir)
# A libFuzzer target when RETORT_FUZZ is on. Without it the same file is linked with a driver that replays the corpus,
# so that every corpus entry stays a regression test in the ordinary build.
function(retort_fuzz name)
  cmake_parse_arguments(ARG "" "CORPUS" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} retort_settings Threads::Threads)
  if(RETORT_FUZZ)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${name} COMMAND ${name} -max_total_time=5 -rss_limit_mb=2048 -timeout=10
      ${CMAKE_BINARY_DIR}/fuzz/${name} ${ARG_CORPUS})
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz/${name})
    add_dependencies(fuzz_targets ${name})
    set_tests_properties(${name} PROPERTIES LABELS fuzz TIMEOUT 120)
  else()
    target_sources(${name} PRIVATE ${RETORT_ROOT}/tests/fuzz/replay_corpus.cc)
    add_dependencies(unit_tests ${name})
    add_test(NAME ${name}_corpus COMMAND ${name} ${ARG_CORPUS})
    set_tests_properties(${name}_corpus PROPERTIES LABELS unit TIMEOUT 120)
  endif()
endfunction()
if(RETORT_FUZZ)
  target_compile_options(retort_settings INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all)
  target_link_options(retort_settings INTERFACE -fsanitize=address,undefined)
endif()
