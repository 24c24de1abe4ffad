# `cmake --install build/release [--prefix /usr]`, with DESTDIR for packagers: programs, policy packs, the CUDA backend when it was
# built, completion scripts and manual pages as the installed programs print them, and the unit of systemd.
include(GNUInstallDirs)

install(TARGETS retort retortd retort-train RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET retort_cuda)
  install(TARGETS retort_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_BINDIR}) # retort-train looks beside itself
endif()
install(DIRECTORY ${RETORT_ROOT}/policy/packs DESTINATION ${CMAKE_INSTALL_DATADIR}/retort)
install(FILES ${RETORT_ROOT}/LICENSE ${RETORT_ROOT}/SECURITY.md ${RETORT_ROOT}/CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY ${RETORT_ROOT}/deploy/examples DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN "__pycache__" EXCLUDE)

install(CODE "
  set(root \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}\")
  function(print_into path)
    execute_process(COMMAND \"$<TARGET_FILE:retort>\" \${ARGN} OUTPUT_FILE \"\${path}\" COMMAND_ERROR_IS_FATAL ANY)
  endfunction()
  foreach(folder bash-completion/completions zsh/site-functions fish/vendor_completions.d)
    file(MAKE_DIRECTORY \"\${root}/${CMAKE_INSTALL_DATADIR}/\${folder}\")
  endforeach()
  print_into(\"\${root}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions/retort\" completion bash)
  print_into(\"\${root}/${CMAKE_INSTALL_DATADIR}/zsh/site-functions/_retort\" completion zsh)
  print_into(\"\${root}/${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d/retort.fish\" completion fish)
  execute_process(COMMAND \"$<TARGET_FILE:retort>\" manual --dir \"\${root}/${CMAKE_INSTALL_MANDIR}/man1\"
    ERROR_QUIET COMMAND_ERROR_IS_FATAL ANY)
  set(bin \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  configure_file(\"${RETORT_ROOT}/deploy/systemd/retortd.service.in\" \"\${root}/lib/systemd/system/retortd.service\" @ONLY)
")
install(FILES ${RETORT_ROOT}/deploy/systemd/retort.sysusers DESTINATION lib/sysusers.d RENAME retort.conf)
install(FILES ${RETORT_ROOT}/deploy/systemd/retort.tmpfiles DESTINATION lib/tmpfiles.d RENAME retort.conf)
