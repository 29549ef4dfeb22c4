// What is in a program or a library, by its own headers. Nothing of it is run. A file that lies is survived.
#ifndef HZ4_CMD_ELF_H_
#define HZ4_CMD_ELF_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf {
  const char *bytes;
  size_t size;
  const char *interpreter;  // the dynamic linker that it asks for; NULL: it is static, or a library
  uint16_t machine;
  bool wide;  // of 64 bits. Of others nothing more is known
};

// False: errno says why, and is ENOEXEC for what is no ELF file.
bool elf_open(const char *path, struct elf *elf);
void elf_close(struct elf *elf);

// Whether other objects find the name in it.
bool elf_exports(const struct elf *elf, const char *name);
// Whether it has a function of that name, exported or not, by the table that `strip` removes.
bool elf_contains(const struct elf *elf, const char *name);
// Whether it is linked with a library whose name begins so.
bool elf_needs(const struct elf *elf, const char *name);
bool elf_has_text(const struct elf *elf, const char *text);

const char *elf_machine_name(uint16_t machine, bool wide);

#endif  // HZ4_CMD_ELF_H_
