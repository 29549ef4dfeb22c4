"""What Bazel's own packages load from rules_proto. hz4 has no protocol buffers."""

proto_lang_toolchain = native.proto_lang_toolchain
proto_library = native.proto_library
