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
  for (size_t i = 0; i < bytes; ++i) value |= (uint64_t)*r->at++ << 8 * i;
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

// The next so many bytes, on their own.
static struct reader read_block(struct reader *r, uint64_t bytes) {
  if (bytes > (size_t)(r->end - r->at)) r->failed = true;
  if (r->failed) return (struct reader){.failed = true};
  r->at += bytes;
  return (struct reader){r->at - bytes, r->at, false};
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
  info->has_augmentation = *augmentation == 'z';
  if (info->has_augmentation) {
    struct reader data = read_block(&r, read_uleb(&r));
    for (const char *letter = augmentation + 1; *letter != '\0'; ++letter) {
      if (*letter == 'R') info->pointers = (unsigned)read_bytes(&data, 1);
      else if (*letter == 'L') read_bytes(&data, 1);
      else if (*letter == 'P') read_pointer(&data, (unsigned)read_bytes(&data, 1) & FORM_MASK);
      else if (*letter == 'S') info->is_signal = true;
      else if (*letter != 'B') return false;
    }
    if (data.failed) return false;
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
  if (info->has_augmentation) read_block(&r, read_uleb(&r));
  info->rest = r;
  return !r.failed && pc >= info->start && pc - info->start < info->bytes;
}

// ---- its instructions ----

// Of registers that are not followed, nothing is known; of an expression only the forms that are in use: a register and an
// offset, and maybe what lies there.
enum how { HOW_KEPT, HOW_AT, HOW_UNDEFINED, HOW_UNKNOWN };
struct place {
  enum how how;
  enum hz4_unwind_base base;
  int64_t offset;
};
struct row {
  struct place cfa, fp, ra;
  bool cfa_is_loaded;
};
#define ROWS_REMEMBERED 4

// DW_CFA_...: their operands are read as letters say: u and s a number without and with sign, e an expression, p a pointer,
// and 1, 2 and 4 so many bytes.
enum {
  NOP, SET_LOC, ADVANCE_LOC1, ADVANCE_LOC2, ADVANCE_LOC4, OFFSET_EXTENDED, RESTORE_EXTENDED, UNDEFINED, SAME_VALUE, REGISTER,
  REMEMBER_STATE, RESTORE_STATE, DEF_CFA, DEF_CFA_REGISTER, DEF_CFA_OFFSET, DEF_CFA_EXPRESSION, EXPRESSION,
  OFFSET_EXTENDED_SF, DEF_CFA_SF, DEF_CFA_OFFSET_SF, VAL_OFFSET, VAL_OFFSET_SF, VAL_EXPRESSION, OPERATIONS,
  GNU_ARGS_SIZE = 0x2e,
};
static const char operands[OPERATIONS][3] = {
    "", "p", "1", "2", "4", "uu", "u", "u", "u", "uu", "", "", "uu", "u", "u", "e", "ue", "us", "us", "s", "uu", "us", "ue"};

struct instruction {
  unsigned op;
  uint64_t operand[2];
  struct place place;  // of an expression
  bool is_loaded;
};

static void read_expression(struct reader *r, struct instruction *out) {
  enum { OP_DEREF = 0x06, OP_BREG0 = 0x70 };
  struct reader e = read_block(r, read_uleb(r));
  uint64_t op = read_bytes(&e, 1);
  out->place = (struct place){HOW_AT, op == OP_BREG0 + REGISTER_SP ? HZ4_UNWIND_SP : HZ4_UNWIND_FP, read_sleb(&e)};
  out->is_loaded = e.at != e.end && read_bytes(&e, 1) == OP_DEREF;
  bool is_known = op == OP_BREG0 + REGISTER_SP || op == OP_BREG0 + REGISTER_FP;
  if (!is_known || e.failed || e.at != e.end) out->place.how = HOW_UNKNOWN;
}

static bool read_instruction(struct reader *r, const struct frame_info *info, struct instruction *out) {
  unsigned byte = (unsigned)read_bytes(r, 1);
  *out = (struct instruction){.op = byte};
  if (byte >> 6 != 0) {  // the first operand is in the byte
    static const uint8_t ops[] = {NOP, ADVANCE_LOC1, OFFSET_EXTENDED, RESTORE_EXTENDED};
    out->op = ops[byte >> 6];
    out->operand[0] = byte & 63;
    if (out->op == OFFSET_EXTENDED) out->operand[1] = read_uleb(r);
    return true;
  }
  const char *kinds = byte == GNU_ARGS_SIZE ? "u" : byte < OPERATIONS ? operands[byte] : NULL;
  for (int i = 0; kinds != NULL && kinds[i] != '\0'; ++i) {
    switch (kinds[i]) {
      case 'u': out->operand[i] = read_uleb(r); break;
      case 's': out->operand[i] = (uint64_t)read_sleb(r); break;
      case 'p': out->operand[i] = read_pointer(r, info->pointers); break;
      case 'e': read_expression(r, out); break;
      default: out->operand[i] = read_bytes(r, (size_t)(kinds[i] - '0'));
    }
  }
  return kinds != NULL;
}

static void set_saved(struct row *row, uint64_t number, struct place place) {
  if (number == REGISTER_FP) row->fp = place;
  if (number == REGISTER_RA) row->ra = place;
}

static void define_cfa(struct row *row, uint64_t number, int64_t offset) {
  bool is_known = number == REGISTER_SP || number == REGISTER_FP;
  row->cfa_is_loaded = false;
  row->cfa = (struct place){is_known ? HOW_AT : HOW_UNKNOWN, number == REGISTER_SP ? HZ4_UNWIND_SP : HZ4_UNWIND_FP, offset};
}

// Runs them up to pc. initial: the row that DW_CFA_restore goes back to.
static bool run(struct reader *r, const struct frame_info *info, uintptr_t pc, const struct row *initial, struct row *row) {
  struct row remembered[ROWS_REMEMBERED];
  size_t count = 0;
  uintptr_t at = info->start;
  struct instruction i;
  while (r->at < r->end && !r->failed) {
    if (!read_instruction(r, info, &i)) return false;
    uint64_t first = i.operand[0];
    int64_t offset = (int64_t)i.operand[1], scaled = offset * info->data_align;
    switch (i.op) {
      case SET_LOC: at = first; break;
      case ADVANCE_LOC1:
      case ADVANCE_LOC2:
      case ADVANCE_LOC4: at += first * info->code_align; break;
      case OFFSET_EXTENDED:
      case OFFSET_EXTENDED_SF: set_saved(row, first, (struct place){HOW_AT, HZ4_UNWIND_CFA, scaled}); break;
      case RESTORE_EXTENDED: set_saved(row, first, first == REGISTER_FP ? initial->fp : initial->ra); break;
      case UNDEFINED: set_saved(row, first, (struct place){.how = HOW_UNDEFINED}); break;
      case SAME_VALUE: set_saved(row, first, (struct place){.how = HOW_KEPT}); break;
      case REGISTER:
      case VAL_OFFSET:
      case VAL_OFFSET_SF:
      case VAL_EXPRESSION: set_saved(row, first, (struct place){.how = HOW_UNKNOWN}); break;
      case EXPRESSION:
        if (i.is_loaded) i.place.how = HOW_UNKNOWN;
        set_saved(row, first, i.place);
        break;
      case REMEMBER_STATE:
        if (count == ROWS_REMEMBERED) return false;
        remembered[count++] = *row;
        break;
      case RESTORE_STATE:
        if (count == 0) return false;
        *row = remembered[--count];
        break;
      case DEF_CFA: define_cfa(row, first, offset); break;
      case DEF_CFA_SF: define_cfa(row, first, scaled); break;
      case DEF_CFA_REGISTER: define_cfa(row, first, row->cfa.offset); break;
      case DEF_CFA_OFFSET: row->cfa.offset = (int64_t)first; break;
      case DEF_CFA_OFFSET_SF: row->cfa.offset = (int64_t)first * info->data_align; break;
      case DEF_CFA_EXPRESSION:
        row->cfa = i.place;
        row->cfa_is_loaded = i.is_loaded;
        break;
      default: break;  // NOP, GNU_ARGS_SIZE
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
  struct row row = {.cfa = {.how = HOW_UNKNOWN}};
  if (!run(&info.initial, &info, UINTPTR_MAX, &row, &row)) return false;
  struct row initial = row;
  if (!run(&info.rest, &info, pc, &initial, &row)) return false;
  bool is_outermost = row.ra.how == HOW_UNDEFINED;
  if (row.cfa.how != HOW_AT || row.fp.how == HOW_UNKNOWN || (row.ra.how != HOW_AT && !is_outermost)) return false;
  *rule = (struct hz4_unwind_rule){
      .cfa_offset = row.cfa.offset,
      .fp_offset = row.fp.offset,
      .ra_offset = row.ra.offset,
      .cfa_base = row.cfa.base,
      .fp_base = row.fp.base,
      .ra_base = row.ra.base,
      .cfa_is_loaded = row.cfa_is_loaded,
      .fp_is_kept = row.fp.how != HOW_AT,
      .is_outermost = is_outermost,
      .is_signal = info.is_signal,
      .is_known = true,
  };
  return rule->cfa_offset == row.cfa.offset && rule->fp_offset == row.fp.offset && rule->ra_offset == row.ra.offset;
}

// ---- what was found before ----

// Two words for a pc: the rule in one, and the other such that both together make the pc: so whoever reads a half of one
// rule and a half of another finds no pc of his (R. Hyatt, "A lock-less transposition table", 1996). Code that takes the
// place of code which was unloaded may find that one's rule, and then a wrong caller, or none.
struct remembered {
  _Atomic(uint64_t) check, word;
};
static struct remembered cache[HZ4_UNWIND_RULES];
_Static_assert(sizeof(struct hz4_unwind_rule) == sizeof(uint64_t), "a rule is a word");

bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule) {
  struct remembered *slot = &cache[(pc * HZ4_HASH_FACTOR) >> 32 & (HZ4_UNWIND_RULES - 1)];
  uint64_t word = hz4_load_relaxed(&slot->word), check = hz4_load_relaxed(&slot->check);
  memcpy(rule, &word, sizeof(word));
  if (rule->is_known && (check ^ word) == pc) return true;
  if (!find(pc, rule)) return false;
  memcpy(&word, rule, sizeof(word));
  hz4_store_relaxed(&slot->word, word);
  hz4_store_relaxed(&slot->check, word ^ pc);
  return true;
}

#else

bool hz4_unwind_find(uintptr_t pc, struct hz4_unwind_rule *rule) {
  (void)pc, (void)rule;
  return false;
}

#endif
