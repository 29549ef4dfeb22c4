# find_package(hz4), for libhz4.so, or, with HZ4_USE_STATIC_LIBS set before, for libhz4.a:
#   hz4::hz4     hz4.h and the library, as the linker needs it: where --as-needed is on, if a name of it is used
#   hz4::malloc  the same, linked with in any case, so that it is the program's malloc
# (A program that is linked with either has hz4 as its malloc. To have both mallocs side by side takes Bazel's
# //hz4:hz4.)
include("${CMAKE_CURRENT_LIST_DIR}/hz4-targets.cmake")

if(HZ4_USE_STATIC_LIBS)
  set(hz4_library hz4::static)
  set(hz4_insist -Wl,--undefined=malloc)  # takes malloc out of the archive
else()
  set(hz4_library hz4::shared)
  set(hz4_insist -Wl,--push-state,--no-as-needed,$<TARGET_FILE:hz4::shared>,--pop-state)
endif()

if(NOT TARGET hz4::hz4)
  add_library(hz4::hz4 INTERFACE IMPORTED)
  target_link_libraries(hz4::hz4 INTERFACE ${hz4_library})
  add_library(hz4::malloc INTERFACE IMPORTED)
  target_link_libraries(hz4::malloc INTERFACE ${hz4_insist} ${hz4_library})
endif()
unset(hz4_library)
unset(hz4_insist)
