# The CUDA compiler, its settings and NVIDIA's libraries. Included by retort.cmake when RETORT_CUDA is on.
#
# Targets for those who link: CUDA::cudart, CUDA::cublas, CUDA::cublasLt (from CMake), and NCCL::nccl when NCCL is found
# (RETORT_NCCL says so). Device files link retort_cuda_settings.
include_guard(GLOBAL)

# The toolkit: what CUDACXX or -DCMAKE_CUDA_COMPILER name, else what deploy/setup/cuda.sh finds. Nothing is downloaded
# from here.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  execute_process(COMMAND ${RETORT_ROOT}/deploy/setup/cuda.sh --find OUTPUT_VARIABLE toolkit
    OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "RETORT_CUDA is ON and no CUDA 13 toolkit is here: run deploy/setup/cuda.sh once, which fetches "
      "one into a cache folder, or set CUDA_HOME to one")
  endif()
  set(CMAKE_CUDA_COMPILER ${toolkit}/bin/nvcc CACHE FILEPATH "nvcc")
endif()

# Machine code for A100, H100/H200 and B200, and PTX from which later devices are compiled by the driver.
set(RETORT_CUDA_ARCHITECTURES "80-real;90-real;100" CACHE STRING "As CMAKE_CUDA_ARCHITECTURES")
set(CMAKE_CUDA_ARCHITECTURES ${RETORT_CUDA_ARCHITECTURES})
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION) # CMake 3.25 knows no dialect after 17
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -lineinfo") # assertions of host code stay on, as in retort.cmake
set(CMAKE_CUDA_FLAGS_DEBUG "-O1 -lineinfo")
if(NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CURRENT_LIST_DIR}/keep_ptxas_report.sh)
  if(RETORT_CCACHE) # which repeats the report when it has the object already
    list(APPEND CMAKE_CUDA_COMPILER_LAUNCHER ${RETORT_CCACHE})
  endif()
endif()
find_package(CUDAToolkit 13 REQUIRED)

add_library(retort_cuda_settings INTERFACE)
target_include_directories(retort_cuda_settings INTERFACE ${RETORT_ROOT})
target_compile_options(retort_cuda_settings INTERFACE
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-Werror=return-type,-ffp-contract=off>")

# NCCL lies beside the toolkit when both came as wheels, else where the system has it.
get_filename_component(RETORT_CUDA_ROOT ${CMAKE_CUDA_COMPILER} REALPATH)
get_filename_component(RETORT_CUDA_ROOT ${RETORT_CUDA_ROOT}/../../.. ABSOLUTE)
find_path(RETORT_NCCL_INCLUDE nccl.h HINTS ${RETORT_CUDA_ROOT}/nccl/include)
find_library(RETORT_NCCL_LIBRARY nccl HINTS ${RETORT_CUDA_ROOT}/nccl/lib)
if(RETORT_NCCL_INCLUDE AND RETORT_NCCL_LIBRARY)
  set(RETORT_NCCL ON)
  add_library(NCCL::nccl UNKNOWN IMPORTED GLOBAL)
  set_target_properties(NCCL::nccl PROPERTIES IMPORTED_LOCATION ${RETORT_NCCL_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${RETORT_NCCL_INCLUDE})
else()
  set(RETORT_NCCL OFF)
  message(STATUS "CUDA: no NCCL (nccl.h and libnccl.so), so runs of many devices are not built")
endif()
