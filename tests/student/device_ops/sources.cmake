# Files of the table, for the two programs made of them: here on the CPU, tests/student/gpu on a device.
set(table_sources main.cc table.cc row_cases.cc norm_cases.cc router_cases.cc attention_cases.cc head_cases.cc
  optimizer_cases.cc)
list(TRANSFORM table_sources PREPEND ${CMAKE_CURRENT_LIST_DIR}/)
