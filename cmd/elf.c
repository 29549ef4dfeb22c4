#include "cmd/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// `count` things of `bytes` each at `offset`; NULL: the file is shorter.
static const void *at(const struct elf *elf, uint64_t offset, uint64_t count, size_t bytes) {
  if (offset > elf->size || count > (elf->size - offset) / bytes) return NULL;
  return elf->bytes + offset;
}

// Headers may lie at any address.
#define LOAD(type, pointer) (*(type *)memcpy(&(type){0}, pointer, sizeof(type)))

bool elf_open(const char *path, struct elf *elf) {
  struct stat status;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  *elf = (struct elf){0};
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= (off_t)sizeof(Elf64_Ehdr)) {
    elf->size = (size_t)status.st_size;
    elf->bytes = mmap(NULL, elf->size, PROT_READ, MAP_PRIVATE, fd, 0);
  }
  close(fd);
  if (elf->bytes == MAP_FAILED) {
    elf->bytes = NULL;
    return false;
  }
  if (elf->bytes == NULL || memcmp(elf->bytes, ELFMAG, SELFMAG) != 0) {
    elf_close(elf);
    errno = ENOEXEC;
    return false;
  }
  const Elf64_Ehdr header = LOAD(Elf64_Ehdr, elf->bytes);
  elf->machine = header.e_machine;
  elf->wide = header.e_ident[EI_CLASS] == ELFCLASS64;
  const char *segments = elf->wide ? at(elf, header.e_phoff, header.e_phnum, sizeof(Elf64_Phdr)) : NULL;
  for (unsigned i = 0; segments != NULL && i < header.e_phnum; ++i) {
    const Elf64_Phdr segment = LOAD(Elf64_Phdr, segments + i * sizeof(Elf64_Phdr));
    if (segment.p_type != PT_INTERP) continue;
    const char *text = at(elf, segment.p_offset, segment.p_filesz, 1);
    if (text != NULL && memchr(text, '\0', segment.p_filesz) != NULL) elf->interpreter = text;
  }
  return true;
}

void elf_close(struct elf *elf) {
  if (elf->bytes != NULL) munmap((void *)(uintptr_t)elf->bytes, elf->size);
  *elf = (struct elf){0};
}

// The n-th section; of type SHT_NULL: there is none.
static Elf64_Shdr section(const struct elf *elf, unsigned n) {
  const Elf64_Shdr none = {.sh_type = SHT_NULL};
  const Elf64_Ehdr header = LOAD(Elf64_Ehdr, elf->bytes);
  const char *all = elf->wide ? at(elf, header.e_shoff, header.e_shnum, sizeof(Elf64_Shdr)) : NULL;
  return all != NULL && n < header.e_shnum ? LOAD(Elf64_Shdr, all + n * sizeof(Elf64_Shdr)) : none;
}

static unsigned sections(const struct elf *elf) { return LOAD(Elf64_Ehdr, elf->bytes).e_shnum; }

// Whether `text` is at `offset` of the strings of a section.
static bool has_string(const struct elf *elf, unsigned strings, uint64_t offset, const char *text, bool whole) {
  const Elf64_Shdr found = section(elf, strings);
  size_t length = strlen(text) + whole;
  if (offset > found.sh_size || length > found.sh_size - offset) return false;
  const char *there = at(elf, found.sh_offset, found.sh_size, 1);
  return there != NULL && memcmp(there + offset, text, length) == 0;
}

static bool defines(const struct elf *elf, uint32_t type, const char *name) {
  for (unsigned s = 0; s < sections(elf); ++s) {
    const Elf64_Shdr table = section(elf, s);
    if (table.sh_type != type) continue;
    const uint64_t count = table.sh_size / sizeof(Elf64_Sym);
    const char *symbols = at(elf, table.sh_offset, count, sizeof(Elf64_Sym));
    for (uint64_t i = 0; symbols != NULL && i < count; ++i) {
      const Elf64_Sym symbol = LOAD(Elf64_Sym, symbols + i * sizeof(Elf64_Sym));
      // An undefined one with a value stands for the address of a library's function.
      if (symbol.st_shndx != SHN_UNDEF && has_string(elf, table.sh_link, symbol.st_name, name, true)) return true;
    }
  }
  return false;
}

bool elf_exports(const struct elf *elf, const char *name) { return defines(elf, SHT_DYNSYM, name); }

bool elf_contains(const struct elf *elf, const char *name) { return defines(elf, SHT_SYMTAB, name); }

bool elf_needs(const struct elf *elf, const char *name) {
  for (unsigned s = 0; s < sections(elf); ++s) {
    const Elf64_Shdr table = section(elf, s);
    if (table.sh_type != SHT_DYNAMIC) continue;
    const uint64_t count = table.sh_size / sizeof(Elf64_Dyn);
    const char *entries = at(elf, table.sh_offset, count, sizeof(Elf64_Dyn));
    for (uint64_t i = 0; entries != NULL && i < count; ++i) {
      const Elf64_Dyn entry = LOAD(Elf64_Dyn, entries + i * sizeof(Elf64_Dyn));
      if (entry.d_tag == DT_NEEDED && has_string(elf, table.sh_link, entry.d_un.d_val, name, false)) return true;
    }
  }
  return false;
}

bool elf_has_text(const struct elf *elf, const char *text) {
  return memmem(elf->bytes, elf->size, text, strlen(text)) != NULL;
}

const char *elf_machine_name(uint16_t machine, bool wide) {
  switch (machine) {
    case EM_X86_64: return wide ? "x86-64" : "x86-64 with pointers of 32 bits";
    case EM_386: return "x86 of 32 bits";
    case EM_AARCH64: return "aarch64";
    case EM_ARM: return "arm of 32 bits";
    case EM_RISCV: return wide ? "riscv64" : "riscv32";
    case EM_PPC64: return "ppc64";
    case EM_S390: return "s390";
    default: return "an unknown machine";
  }
}
