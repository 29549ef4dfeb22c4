#include "hz4/unwind.h"

#include <dlfcn.h>
#include <string.h>

#include "hz4/atomic.h"

#if defined(__x86_64__) && defined(DLFO_STRUCT_HAS_EH_COUNT)  // <dlfcn.h> has _dl_find_object
#pragma weak _dl_find_object

// DWARF's numbers of the registers.
enum { REGISTER_FP = 6, REGISTER_SP = 7, REGISTER_RA = 16 };

// What is read of a table: [at, end). A read beyond sets `failed`, and gives 0.
struct reader {
  const uint8_t *at, *end;
  bool failed;
};

// The tables lie in [start, end), the object that the code belongs to.
struct object {
  uintptr_t start, end;
  const uint8_t *index;  // its .eh_frame_hdr
};

// ---- reading ----

static uint64_t read_bytes(struct reader *r, size_t bytes) {
  uint64_t value = 0;
  if ((size_t)(r->end - r->at) < bytes) {
    r->failed = true;
    r->at = r->end;
    return 0;
  }
  memcpy(&value, r->at, bytes);  // of little-endian machines
  r->at += bytes;
  return value;
}

static uint64_t read_leb(struct reader *r, bool is_signed) {
  uint64_t value = 0, byte;
  unsigned shift = 0;
  do {
    byte = read_bytes(r, 1);
    if (shift < 64) value |= (byte & 127) << shift;
    shift += 7;
  } while ((byte & 128) != 0);
  if (is_signed && (byte & 64) != 0 && shift < 64) value |= ~(uint64_t)0 << shift;
  return value;
}

static uint64_t read_uleb(struct reader *r) {
  return read_leb(r, false);
}

static int64_t read_sleb(struct reader *r) {
  return (int64_t)read_leb(r, true);
}

// Pointers are written in one of several ways (LSB, "DWARF Exception Header Encoding"): these are what linkers write.
enum { FORM_MASK = 15, FORM_ABSOLUTE = 0, FORM_U4 = 3, FORM_S4 = 11, FORM_S8 = 12 };
enum { TO_MASK = 0x70, TO_PLACE = 0x10, TO_INDEX = 0x30 };

static uintptr_t read_pointer(struct reader *r, unsigned encoding) {
  uintptr_t place = (uintptr_t)r->at, value = 0;
  switch (encoding & FORM_MASK) {
    case FORM_ABSOLUTE:
    case FORM_S8: value = read_bytes(r, 8); break;
    case FORM_U4: value = read_bytes(r, 4); break;
    case FORM_S4: value = (uintptr_t)(intptr_t)(int32_t)read_bytes(r, 4); break;
    default: r->failed = true;
  }
  if ((encoding & TO_MASK) == TO_PLACE) value += place;
  else if ((encoding & TO_MASK) != 0) r->failed = true;
  return value;
}

// ---- which tables ----

static bool find_object(uintptr_t pc, struct object *out) {
  struct dl_find_object found;
  if (_dl_find_object == NULL || _dl_find_object((void *)pc, &found) != 0 || found.dlfo_eh_frame == NULL) return false;
  *out = (struct object){(uintptr_t)found.dlfo_map_start, (uintptr_t)found.dlfo_map_end, found.dlfo_eh_frame};
  return true;
}

// Everything from an address on to the object's end; nothing, if it does not lie in the object.
static struct reader reader_at(const struct object *object, uintptr_t address) {
  if (address < object->start || address >= object->end) return (struct reader){.failed = true};
  return (struct reader){(const uint8_t *)address, (const uint8_t *)object->end, false};
}

// The index is sorted: the entry of the function that begins last before pc. 0: none.
static uintptr_t find_entry(const struct object *object, uintptr_t pc) {
  struct reader r = reader_at(object, (uintptr_t)object->index);
  uint64_t head = read_bytes(&r, 4);
  unsigned frame_encoding = head >> 8 & 255, count_encoding = head >> 16 & 255, table_encoding = head >> 24;
  if ((head & 255) != 1 || table_encoding != (TO_INDEX | FORM_S4) || count_encoding != FORM_U4) return 0;
  read_pointer(&r, frame_encoding);
  size_t count = read_bytes(&r, 4);
  if (r.failed || count == 0 || (size_t)(r.end - r.at) / 8 < count) return 0;
  const uint8_t *table = r.at;
  uintptr_t base = (uintptr_t)object->index;
  size_t low = 0, high = count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    int32_t start;
    memcpy(&start, table + 8 * middle, sizeof(start));
    if (base + (uintptr_t)(intptr_t)start <= pc) low = middle;
    else high = middle;
  }
  int32_t entry;
  memcpy(&entry, table + 8 * low + 4, sizeof(entry));
  return base + (uintptr_t)(intptr_t)entry;
}

// ---- an entry ----

struct frame_info {
  uint64_t code_align;
  int64_t data_align;
  unsigned pointers;  // how they are written
  bool has_augmentation, is_signal;
  struct reader initial, rest;  // instructions: of all functions, and of this one
  uintptr_t start, bytes;       // the function
};

// What is left of an entry (it begins with its length), and where the field behind the length is.
static struct reader open_entry(const struct object *object, uintptr_t address) {
  struct reader r = reader_at(object, address);
  uint64_t bytes = read_bytes(&r, 4);
  if (bytes == 0 || bytes >= 0xfffffff0 || bytes > (size_t)(r.end - r.at)) r.failed = true;
  else r.end = r.at + bytes;
  return r;
}

// What functions have in common.
static bool read_common(const struct object *object, uintptr_t address, struct frame_info *info) {
  struct reader r = open_entry(object, address);
  if (read_bytes(&r, 4) != 0) return false;
  uint64_t version = read_bytes(&r, 1);
  const char *augmentation = (const char *)r.at;
  while (read_bytes(&r, 1) != 0) continue;
  info->code_align = read_uleb(&r);
  info->data_align = read_sleb(&r);
  uint64_t ra_register = version == 1 ? read_bytes(&r, 1) : read_uleb(&r);
  if (r.failed || (version != 1 && version != 3) || ra_register != REGISTER_RA) return false;
  if (*augmentation == 'z') {
    info->has_augmentation = true;
    uint64_t bytes = read_uleb(&r);
    if (bytes > (size_t)(r.end - r.at)) return false;
    const uint8_t *instructions = r.at + bytes;
    for (const char *letter = augmentation + 1; *letter != '\0'; ++letter) {
      if (*letter == 'R') info->pointers = (unsigned)read_bytes(&r, 1);
      else if (*letter == 'L') read_bytes(&r, 1);
      else if (*letter == 'P') read_pointer(&r, (unsigned)read_bytes(&r, 1) & FORM_MASK);
      else if (*letter == 'S') info->is_signal = true;
      else if (*letter != 'B') return false;
    }
    r.at = instructions;
  } else if (*augmentation != '\0') {
    return false;
  }
  info->initial = r;
  return !r.failed;
}

static bool read_entry(const struct object *object, uintptr_t address, uintptr_t pc, struct frame_info *info) {
  *info = (struct frame_info){0};
  struct reader r = open_entry(object, address);
  uintptr_t place = (uintptr_t)r.at;
  uint64_t common = read_bytes(&r, 4);
  if (r.failed || common == 0 || !read_common(object, place - common, info)) return false;
  info->start = read_pointer(&r, info->pointers);
  info->bytes = read_pointer(&r, info->pointers & FORM_MASK);
  if (info->has_augmentation) {
    uint64_t bytes = read_uleb(&r);
    if (bytes > (size_t)(r.end - r.at)) return false;
    r.at += bytes;
  }
  info->rest = r;
  return !r.failed && pc >= info->start && pc - info->start < info->bytes;
}

// ---- its instructions ----

// Of registers that are not followed, nothing is known; of an expression only the forms that are in use: a register and an
// offset, and maybe what lies there.
enum how { HOW_KEPT, HOW_AT, HOW_UNDEFINED, HOW_UNKNOWN };
struct saved {
  enum how how;
  struct hz4_unwind_place place;
};
struct row {
  uint64_t cfa_register;  // or else cfa is an expression
  bool cfa_by_register, cfa_known, cfa_is_loaded;
  struct hz4_unwind_place cfa;
  struct saved fp, ra;
};
#define ROWS_REMEMBERED 4

static bool read_expression(struct reader *r, struct hz4_unwind_place *place, bool *is_loaded) {
  enum { OP_DEREF = 0x06, OP_BREG0 = 0x70 };
  uint64_t bytes = read_uleb(r);
  if (bytes > (size_t)(r->end - r->at)) {
    r->failed = true;
    return false;
  }
  struct reader e = {r->at, r->at + bytes, false};
  r->at += bytes;
  uint64_t op = read_bytes(&e, 1);
  place->base = op == OP_BREG0 + REGISTER_SP ? HZ4_UNWIND_SP : HZ4_UNWIND_FP;
  if (op != OP_BREG0 + REGISTER_SP && op != OP_BREG0 + REGISTER_FP) return false;
  place->offset = (int32_t)read_sleb(&e);
  *is_loaded = e.at != e.end && read_bytes(&e, 1) == OP_DEREF;
  return !e.failed && e.at == e.end;
}

static struct saved *saved_of(struct row *row, uint64_t number) {
  return number == REGISTER_FP ? &row->fp : number == REGISTER_RA ? &row->ra : NULL;
}

static void set_saved(struct row *row, uint64_t number, enum how how, int64_t offset) {
  struct saved *saved = saved_of(row, number);
  if (saved != NULL) *saved = (struct saved){how, {(int32_t)offset, HZ4_UNWIND_CFA}};
}

static void restore(struct row *row, const struct row *initial, uint64_t number) {
  if (number == REGISTER_FP) row->fp = initial->fp;
  if (number == REGISTER_RA) row->ra = initial->ra;
}

static void define_cfa(struct row *row, uint64_t number, int64_t offset) {
  row->cfa_register = number;
  row->cfa_by_register = row->cfa_known = true;
  row->cfa_is_loaded = false;
  row->cfa.offset = (int32_t)offset;
}

// Runs them up to pc. initial: the row that DW_CFA_restore goes back to.
static bool run(struct reader *r, const struct frame_info *info, uintptr_t pc, const struct row *initial, struct row *row) {
  struct row remembered[ROWS_REMEMBERED];
  size_t count = 0;
  uintptr_t at = info->start;
  while (r->at < r->end && !r->failed) {
    uint64_t op = read_bytes(r, 1), low = op & 63, number;
    if (op >> 6 == 1) {  // DW_CFA_advance_loc
      at += low * info->code_align;
      if (at > pc) return true;
      continue;
    }
    if (op >> 6 == 2) {  // DW_CFA_offset
      set_saved(row, low, HOW_AT, (int64_t)read_uleb(r) * info->data_align);
      continue;
    }
    if (op >> 6 == 3) {  // DW_CFA_restore
      restore(row, initial, low);
      continue;
    }
    switch (op) {
      case 0x00: break;  // DW_CFA_nop
      case 0x01: at = read_pointer(r, info->pointers); break;
      case 0x02: at += read_bytes(r, 1) * info->code_align; break;  // DW_CFA_advance_loc1, 2, 4
      case 0x03: at += read_bytes(r, 2) * info->code_align; break;
      case 0x04: at += read_bytes(r, 4) * info->code_align; break;
      case 0x05:  // DW_CFA_offset_extended
        number = read_uleb(r);
        set_saved(row, number, HOW_AT, (int64_t)read_uleb(r) * info->data_align);
        break;
      case 0x06: restore(row, initial, read_uleb(r)); break;  // DW_CFA_restore_extended
      case 0x07: set_saved(row, read_uleb(r), HOW_UNDEFINED, 0); break;
      case 0x08: set_saved(row, read_uleb(r), HOW_KEPT, 0); break;  // DW_CFA_same_value
      case 0x09:                                                          // DW_CFA_register: in another one
        set_saved(row, read_uleb(r), HOW_UNKNOWN, 0);
        read_uleb(r);
        break;
      case 0x0a:  // DW_CFA_remember_state
        if (count == ROWS_REMEMBERED) return false;
        remembered[count++] = *row;
        break;
      case 0x0b:  // DW_CFA_restore_state
        if (count == 0) return false;
        *row = remembered[--count];
        break;
      case 0x0c:  // DW_CFA_def_cfa
        number = read_uleb(r);
        define_cfa(row, number, (int64_t)read_uleb(r));
        break;
      case 0x0d: define_cfa(row, read_uleb(r), row->cfa.offset); break;  // DW_CFA_def_cfa_register
      case 0x0e: row->cfa.offset = (int32_t)read_uleb(r); break;         // DW_CFA_def_cfa_offset
      case 0x0f:                                                         // DW_CFA_def_cfa_expression
        row->cfa_by_register = false;
        row->cfa_known = read_expression(r, &row->cfa, &row->cfa_is_loaded);
        break;
      case 0x10: {  // DW_CFA_expression
        number = read_uleb(r);
        struct hz4_unwind_place place = {0};
        bool is_loaded, known = read_expression(r, &place, &is_loaded);
        struct saved *saved = saved_of(row, number);
        if (saved != NULL) *saved = (struct saved){known && !is_loaded ? HOW_AT : HOW_UNKNOWN, place};
        break;
      }
      case 0x11:  // DW_CFA_offset_extended_sf
        number = read_uleb(r);
        set_saved(row, number, HOW_AT, read_sleb(r) * info->data_align);
        break;
      case 0x12:  // DW_CFA_def_cfa_sf
        number = read_uleb(r);
        define_cfa(row, number, read_sleb(r) * info->data_align);
        break;
      case 0x13: row->cfa.offset = (int32_t)(read_sleb(r) * info->data_align); break;  // DW_CFA_def_cfa_offset_sf
      case 0x14:                                                                       // DW_CFA_val_offset, _sf
      case 0x15:
        set_saved(row, read_uleb(r), HOW_UNKNOWN, 0);
        read_uleb(r);
        break;
      case 0x16: {  // DW_CFA_val_expression
        set_saved(row, read_uleb(r), HOW_UNKNOWN, 0);
        struct hz4_unwind_place place;
        bool is_loaded;
        read_expression(r, &place, &is_loaded);
        break;
      }
      case 0x2e: read_uleb(r); break;  // DW_CFA_GNU_args_size
      default: return false;
    }
    if (at > pc) return true;
  }
  return !r->failed;
}

static bool find(uintptr_t pc, struct hz4_unwind_rule *rule) {
  struct object object;
  struct frame_info info;
  if (!find_object(pc, &object)) return false;
  uintptr_t entry = find_entry(&object, pc);
  if (entry == 0 || !read_entry(&object, entry, pc, &info)) return false;
  struct row row = {0}, initial = {0};
  if (!run(&info.initial, &info, UINTPTR_MAX, &row, &row)) return false;
  initial = row;
  if (!run(&info.rest, &info, pc, &initial, &row)) return false;
  if (row.cfa_by_register) {
    if (row.cfa_register != REGISTER_SP && row.cfa_register != REGISTER_FP) return false;
    row.cfa.base = row.cfa_register == REGISTER_SP ? HZ4_UNWIND_SP : HZ4_UNWIND_FP;
  }
  if (!row.cfa_known || row.fp.how == HOW_UNKNOWN || row.ra.how == HOW_KEPT || row.ra.how == HOW_UNKNOWN) return false;
  *rule = (struct hz4_unwind_rule){
      .cfa = row.cfa,
      .fp = row.fp.place,
      .ra = row.ra.place,
      .cfa_is_loaded = row.cfa_is_loaded,
      .fp_is_kept = row.fp.how != HOW_AT,
      .is_outermost = row.ra.how == HOW_UNDEFINED,
      .is_signal = info.is_signal,
  };
  return true;
}

// ---- what was found before ----

// Two words for a pc: the rule in one, and the other such that both together make the pc: so whoever reads a half of one
// rule and a half of another finds no pc of his (R. Hyatt, "A lock-less transposition table", 1996). Code that takes the
// place of code which was unloaded may find that one's rule, and then a wrong caller, or none.
struct remembered {
  _Atomic(uint64_t) check, packed;
};
static struct remembered cache[HZ4_UNWIND_RULES];

// CFA's offset, 24 bits; fp's, 24 bits; ra's, 8 bits; flags. 0: does not fit.
enum { FLAG_PRESENT = 1, FLAG_BY_FP = 2, FLAG_FP_KEPT = 4, FLAG_OUTERMOST = 8 };

static bool fits(int32_t offset) {
  return offset >= -(1 << 23) && offset < 1 << 23;
}

static uint64_t pack(const struct hz4_unwind_rule *rule) {
  int32_t cfa = rule->cfa.offset, fp = rule->fp.offset, ra = rule->ra.offset;
  if (rule->is_signal || rule->cfa_is_loaded || rule->fp.base != HZ4_UNWIND_CFA || rule->ra.base != HZ4_UNWIND_CFA) return 0;
  if (!fits(cfa) || !fits(fp) || ra != (int8_t)ra) return 0;
  uint64_t flags = FLAG_PRESENT | (rule->cfa.base == HZ4_UNWIND_FP ? FLAG_BY_FP : 0) |
                   (rule->fp_is_kept ? FLAG_FP_KEPT : 0) | (rule->is_outermost ? FLAG_OUTERMOST : 0);
  return (uint64_t)(uint32_t)cfa << 40 | (uint64_t)((uint32_t)fp & 0xffffff) << 16 | (uint64_t)(uint8_t)ra << 8 | flags;
}

static struct hz4_unwind_rule unpack(uint64_t packed) {
  return (struct hz4_unwind_rule){
      .cfa = {(int32_t)((int64_t)packed >> 40), (packed & FLAG_BY_FP) != 0 ? HZ4_UNWIND_FP : HZ4_UNWIND_SP},
      .fp = {(int32_t)((int64_t)(packed << 24) >> 40), HZ4_UNWIND_CFA},
      .ra = {(int8_t)(packed >> 8), HZ4_UNWIND_CFA},
      .fp_is_kept = (packed & FLAG_FP_KEPT) != 0,
      .is_outermost = (packed & FLAG_OUTERMOST) != 0,
  };
}

bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule) {
  struct remembered *slot = &cache[(pc * HZ4_HASH_FACTOR) >> 32 & (HZ4_UNWIND_RULES - 1)];
  uint64_t packed = hz4_load_relaxed(&slot->packed);
  if ((packed & FLAG_PRESENT) != 0 && (hz4_load_relaxed(&slot->check) ^ packed) == pc) {
    *rule = unpack(packed);
    return true;
  }
  if (!find(pc, rule)) return false;
  packed = pack(rule);
  if (packed != 0) {
    hz4_store_relaxed(&slot->packed, packed);
    hz4_store_relaxed(&slot->check, packed ^ pc);
  }
  return true;
}

#else

bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule) {
  (void)pc, (void)rule;
  return false;
}

#endif
