"""Toolchains of Debian's cross compilers."""

load("@rules_cc//cc:defs.bzl", "cc_toolchain")
load("@rules_cc//cc/private/toolchain:unix_cc_toolchain_config.bzl", "cc_toolchain_config")  # buildifier: disable=bzl-visibility

_TOOLS = {
    "ar": "ar",
    "cpp": "cpp",
    "dwp": "dwp",
    "gcov": "gcov",
    "ld": "ld",
    "llvm-cov": "llvm-cov",
    "nm": "nm",
    "objcopy": "objcopy",
    "objdump": "objdump",
    "strip": "strip",
}

def cross_toolchain(name, triplet, cpu, libc, gcc, includes, link_libs):
    """NAME: the toolchain for --extra_toolchains.

    Args:
      name: of the platform in //tools/cross.
      triplet: what the names of its binutils begin with.
      cpu: as @platforms//cpu names it.
      libc: a constraint of //tools/cross.
      gcc: the path of its compiler.
      includes: where that looks for headers.
      link_libs: for every link.
    """
    cc_toolchain_config(
        name = name + "_config",
        abi_libc_version = name,
        abi_version = name,
        compile_flags = [
            "-fstack-protector",
            "-fno-omit-frame-pointer",
        ],
        compiler = "gcc",
        cpu = cpu,
        cxx_builtin_include_directories = includes,
        cxx_flags = ["-std=c++17"],
        dbg_compile_flags = ["-g"],
        host_system_name = "local",
        link_flags = [
            "-Wl,-no-as-needed",
            "-Wl,-z,relro,-z,now",
        ],
        link_libs = link_libs,
        # As Bazel's own configuration for the machine at hand: so the code is what ships.
        opt_compile_flags = [
            "-g0",
            "-O2",
            "-D_FORTIFY_SOURCE=1",
            "-DNDEBUG",
            "-ffunction-sections",
            "-fdata-sections",
        ],
        opt_link_flags = ["-Wl,--gc-sections"],
        target_libc = name,
        target_system_name = name,
        tool_paths = dict(
            {tool: "/usr/bin/%s-%s" % (triplet, file) for tool, file in _TOOLS.items()},
            gcc = gcc,
        ),
        toolchain_identifier = name,
        unfiltered_compile_flags = [
            "-fno-canonical-system-headers",
            "-Wno-builtin-macro-redefined",
            "-D__DATE__=\"redacted\"",
            "-D__TIMESTAMP__=\"redacted\"",
            "-D__TIME__=\"redacted\"",
        ],
    )
    cc_toolchain(
        name = name + "_cc",
        all_files = ":nothing",
        compiler_files = ":nothing",
        dwp_files = ":nothing",
        linker_files = ":nothing",
        objcopy_files = ":nothing",
        strip_files = ":nothing",
        toolchain_config = ":%s_config" % name,
        toolchain_identifier = name,
    )
    native.toolchain(
        name = name,
        exec_compatible_with = [
            "@platforms//os:linux",
            "@platforms//cpu:x86_64",
        ],
        target_compatible_with = [
            "@platforms//os:linux",
            "@platforms//cpu:" + cpu,
            libc,
        ],
        toolchain = ":%s_cc" % name,
        toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
    )
