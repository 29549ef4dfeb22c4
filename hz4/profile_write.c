// Profiles as files: pprof's profile.proto, not compressed, and the text of gperftools ("heap_v2").
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "hz4/atomic.h"
#include "hz4/file.h"
#include "hz4/maps.h"
#include "hz4/options.h"
#include "hz4/profile.h"
#include "hz4/sample.h"
#include "hz4/sys.h"
#include "hz4/syscall.h"
#include "hz4/writer.h"

// ---- text ----

// As if each sample had been counted once: readers scale each line by the inverse of the chance that its mean object had to
// be a sample.
struct counts {
  uint64_t objects, bytes;
};

static struct counts unscaled(uint64_t parts, uint64_t bytes) {
  if (parts == 0 || bytes == 0) return (struct counts){0, 0};
  double objects = (double)parts / (1 << HZ4_PROFILE_PART_SHIFT);
  double chance = hz4_sample_chance((double)bytes / objects / (double)hz4_profile_mean());
  return (struct counts){(uint64_t)(objects * chance + 0.5), (uint64_t)((double)bytes * chance + 0.5)};
}

static void put_counts(struct hz4_writer *w, struct counts live, struct counts allocated) {
  hz4_put(w, "%lu: %lu [%lu: %lu] @", live.objects, live.bytes, allocated.objects, allocated.bytes);
}

static void add(struct counts *sum, struct counts more) {
  sum->objects += more.objects;
  sum->bytes += more.bytes;
}

static struct counts live_of(const struct hz4_profile_site *site) {
  return unscaled(hz4_load_relaxed(&site->live_parts), hz4_load_relaxed(&site->live_bytes));
}

static struct counts allocated_of(const struct hz4_profile_site *site) {
  return unscaled(hz4_load_relaxed(&site->allocated_parts), hz4_load_relaxed(&site->allocated_bytes));
}

static void copy_line(void *context, const char *line, const struct hz4_map *map) {
  (void)map;
  hz4_put(context, "%s\n", line);
}

static void write_text(struct hz4_writer *w) {
  struct counts live = {0, 0}, allocated = {0, 0};
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    add(&live, live_of(site));
    add(&allocated, allocated_of(site));
  }
  hz4_put(w, "heap profile: ");
  put_counts(w, live, allocated);
  hz4_put(w, " heap_v2/%lu\n", hz4_profile_mean());
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    put_counts(w, live_of(site), allocated_of(site));
    for (uint32_t i = 0; i < site->depth; ++i) hz4_put(w, " 0x%lx", site->stack[i]);
    hz4_put(w, "\n");
  }
  hz4_put(w, "\nMAPPED_LIBRARIES:\n");
  hz4_maps_read(copy_line, w);
}

// ---- profile.proto ----
//
// The numbers are those of github.com/google/pprof/proto/profile.proto. A message is a sequence of fields: a key (number and
// type), then a varint, or a length and as many bytes.

enum { VARINT = 0, BYTES = 2 };
enum {
  PROFILE_SAMPLE_TYPE = 1,
  PROFILE_SAMPLE = 2,
  PROFILE_MAPPING = 3,
  PROFILE_LOCATION = 4,
  PROFILE_STRING = 6,
  PROFILE_DROPPED = 7,
  PROFILE_TIME_NS = 9,
  PROFILE_PERIOD_TYPE = 11,
  PROFILE_PERIOD = 12,
  PROFILE_DEFAULT_TYPE = 14,
};
enum { TYPE_NAME = 1, TYPE_UNIT = 2 };
enum { SAMPLE_LOCATION = 1, SAMPLE_VALUE = 2 };
enum { MAPPING_ID = 1, MAPPING_START = 2, MAPPING_END = 3, MAPPING_OFFSET = 4, MAPPING_FILE = 5, MAPPING_BUILD_ID = 6 };
enum { LOCATION_ID = 1, LOCATION_MAPPING = 2, LOCATION_ADDRESS = 3 };

#define VARINT_BYTES_MAX 10

// The values of each sample, in this order. Their names and units are the first strings.
#define VALUE_TABLE(X)           \
  X("alloc_objects", "count")    \
  X("alloc_space", "bytes")      \
  X("inuse_objects", "count")    \
  X("inuse_space", "bytes")      \
  X("held_space", "bytes")
#define NAME_AND_UNIT(name, unit) name, unit,
static const char *const first_strings[] = {"", VALUE_TABLE(NAME_AND_UNIT) "space", "bytes", HZ4_PROFILE_DROPPED};
enum { STRINGS = sizeof(first_strings) / sizeof(first_strings[0]), VALUES = (STRINGS - 4) / 2 };
enum { STRING_SPACE = STRINGS - 3, STRING_DROPPED = STRINGS - 1 };
#define STRING_OF_VALUE(value) (1 + 2 * (value))
enum { VALUE_INUSE_SPACE = 3 };

static void put_varint(struct hz4_writer *w, uint64_t value) {
  uint8_t bytes[VARINT_BYTES_MAX];
  size_t n = 0;
  for (; value >= 128; value >>= 7) bytes[n++] = (uint8_t)(value | 128);
  bytes[n++] = (uint8_t)value;
  hz4_put_bytes(w, bytes, n);
}

static void put_number(struct hz4_writer *w, unsigned field, uint64_t value) {
  put_varint(w, field << 3 | VARINT);
  put_varint(w, value);
}

static void put_field(struct hz4_writer *w, unsigned field, const void *data, size_t bytes) {
  put_varint(w, field << 3 | BYTES);
  put_varint(w, bytes);
  hz4_put_bytes(w, data, bytes);
}

// Room for six fields that are numbers.
#define MESSAGE(name) HZ4_WRITER(name, 6 * (1 + VARINT_BYTES_MAX), -1)

static void put_message(struct hz4_writer *w, unsigned field, const struct hz4_writer *message) {
  put_field(w, field, message->buffer, message->used);
}

static void put_type(struct hz4_writer *w, unsigned field, unsigned name) {
  MESSAGE(m);
  put_number(&m, TYPE_NAME, name);
  put_number(&m, TYPE_UNIT, name + 1);
  put_message(w, field, &m);
}

// While it is written: where code is, and which return addresses have a location already (open addressing).
struct code {
  uintptr_t start, end;
};
struct proto {
  struct hz4_writer *file;
  uint64_t strings;  // so far
  size_t codes, slots, slots_used;
  struct code *code;      // in rising order; the mapping's id is the index and 1
  uintptr_t *address_of;  // slots
  char *locations, *sample;  // of one sample, encoded
};
#define LOCATIONS_BYTES_MAX ((size_t)HZ4_SAMPLE_FRAMES * VARINT_BYTES_MAX)
#define SAMPLE_BYTES_MAX (LOCATIONS_BYTES_MAX + (size_t)(VALUES + 4) * VARINT_BYTES_MAX)

static void add_string(struct proto *p, const char *text) {
  put_field(p->file, PROFILE_STRING, text, strlen(text));
  ++p->strings;
}

static void add_mapping(void *context, const char *line, const struct hz4_map *map) {
  struct proto *p = context;
  (void)line;
  if (!map->is_code || map->path[0] == '\0' || p->codes == HZ4_PROFILE_MAPPINGS) return;
  p->code[p->codes++] = (struct code){map->start, map->end};
  MESSAGE(m);
  put_number(&m, MAPPING_ID, p->codes);
  put_number(&m, MAPPING_START, map->start);
  put_number(&m, MAPPING_END, map->end);
  put_number(&m, MAPPING_OFFSET, map->offset);
  put_number(&m, MAPPING_FILE, p->strings);
  add_string(p, map->path);
  char build_id[HZ4_BUILD_ID_TEXT_BYTES];
  if (hz4_maps_build_id(map, build_id)) {
    put_number(&m, MAPPING_BUILD_ID, p->strings);
    add_string(p, build_id);
  }
  put_message(p->file, PROFILE_MAPPING, &m);
}

static uint64_t mapping_of(const struct proto *p, uintptr_t address) {
  size_t low = 0, high = p->codes;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (address < p->code[middle].start) high = middle;
    else if (address >= p->code[middle].end) low = middle + 1;
    else return middle + 1;
  }
  return 0;
}

// The id of a location is the return address. Its address is within the call.
static void add_location(struct proto *p, uintptr_t ra) {
  size_t slot = (ra * HZ4_HASH_FACTOR >> 32) & (p->slots - 1);
  for (; p->address_of[slot] != 0; slot = (slot + 1) & (p->slots - 1)) {
    if (p->address_of[slot] == ra) return;
  }
  p->address_of[slot] = ra;
  ++p->slots_used;
  uint64_t mapping = mapping_of(p, ra - 1);
  MESSAGE(m);
  put_number(&m, LOCATION_ID, ra);
  if (mapping != 0) put_number(&m, LOCATION_MAPPING, mapping);
  put_number(&m, LOCATION_ADDRESS, ra - 1);
  put_message(p->file, PROFILE_LOCATION, &m);
}

static void add_sample(struct proto *p, const struct hz4_profile_site *site) {
  const uint64_t values[VALUES] = {
      hz4_profile_objects(hz4_load_relaxed(&site->allocated_parts)), hz4_load_relaxed(&site->allocated_bytes),
      hz4_profile_objects(hz4_load_relaxed(&site->live_parts)),      hz4_load_relaxed(&site->live_bytes),
      hz4_load_relaxed(&site->held_bytes),
  };
  HZ4_WRITER(encoded, VALUES * VARINT_BYTES_MAX, -1);
  struct hz4_writer locations = {.buffer = p->locations, .size = LOCATIONS_BYTES_MAX, .fd = -1};
  struct hz4_writer sample = {.buffer = p->sample, .size = SAMPLE_BYTES_MAX, .fd = -1};
  for (int i = 0; i < VALUES; ++i) put_varint(&encoded, values[i]);
  for (uint32_t i = 0; i < site->depth; ++i) {
    add_location(p, site->stack[i]);
    put_varint(&locations, site->stack[i]);
  }
  put_message(&sample, SAMPLE_LOCATION, &locations);
  put_message(&sample, SAMPLE_VALUE, &encoded);
  put_message(p->file, PROFILE_SAMPLE, &sample);
}

static void put_all(struct proto *p) {
  struct hz4_writer *w = p->file;
  // First what tells a profile from other files, for it is the first field.
  for (unsigned i = 0; i < VALUES; ++i) put_type(w, PROFILE_SAMPLE_TYPE, STRING_OF_VALUE(i));
  for (int i = 0; i < STRINGS; ++i) add_string(p, first_strings[i]);
  put_type(w, PROFILE_PERIOD_TYPE, STRING_SPACE);
  put_number(w, PROFILE_PERIOD, hz4_profile_mean());
  put_number(w, PROFILE_DROPPED, STRING_DROPPED);
  put_number(w, PROFILE_DEFAULT_TYPE, STRING_OF_VALUE(VALUE_INUSE_SPACE));
  put_number(w, PROFILE_TIME_NS, hz4_clock_ns(CLOCK_REALTIME));
  hz4_maps_read(add_mapping, p);
  // What came since the slots were counted may find no place.
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    if (p->slots_used + site->depth < p->slots) add_sample(p, site);
  }
}

static void write_proto(struct hz4_writer *w) {
  size_t frames = 0, slots = 1024;
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) frames += site->depth;
  while (slots < 2 * frames) slots *= 2;
  struct proto p = {.file = w, .slots = slots};
  size_t bytes = HZ4_PROFILE_MAPPINGS * sizeof(*p.code) + slots * sizeof(*p.address_of) + LOCATIONS_BYTES_MAX + SAMPLE_BYTES_MAX;
  bytes = hz4_round_up(bytes, hz4_sys_page_bytes());
  p.code = hz4_sys_mmap(NULL, bytes);
  if (p.code == NULL) {
    w->error = ENOMEM;
    return;
  }
  p.address_of = (uintptr_t *)(p.code + HZ4_PROFILE_MAPPINGS);
  p.locations = (char *)(p.address_of + slots);
  p.sample = p.locations + LOCATIONS_BYTES_MAX;
  put_all(&p);
  hz4_sys_munmap(p.code, bytes);
}

// ---- a profile ----

static _Atomic(uint32_t) writing;  // file.h
static char buffer[HZ4_PROFILE_BUFFER_BYTES];  // the writer's
static char path_then[PATH_MAX];               // what the file will be called,
static char path_now[PATH_MAX + 8];            // and what it is called while it is written

static void name_file(uint32_t pid, enum hz4_profile_due due, enum hz4_profile_format format) {
  static uint64_t last;  // of those that have numbers
  const char *end = format == HZ4_PROFILE_FORMAT_TEXT ? "heap" : "pb", *prefix = hz4_option.profile;
  if (due == HZ4_PROFILE_DUE_NUMBERED) hz4_format(path_then, PATH_MAX, "%s.%u.%04lu.%s", prefix, pid, ++last, end);
  else hz4_format(path_then, PATH_MAX, "%s.%u.%s.%s", prefix, pid, due == HZ4_PROFILE_DUE_PEAK ? "peak" : "exit", end);
}

static int write_file(enum hz4_profile_format format) {
  struct hz4_writer w = {.buffer = buffer, .size = sizeof(buffer), .fd = -1};
  hz4_format(path_now, sizeof(path_now), "%s.part", path_then);
  int error = hz4_file_begin(&w, path_now, path_then, 0600);
  if (error != 0) return error;
  hz4_profile_look_at_spans();
  if (format == HZ4_PROFILE_FORMAT_TEXT) write_text(&w);
  else write_proto(&w);
  return hz4_file_end(&w, path_now, path_then);
}

static int save(const char *path, enum hz4_profile_due due, enum hz4_profile_format format) {
  if (hz4_profile_mean() == 0 || (path == NULL && hz4_option.profile[0] == '\0')) return EINVAL;
  if (hz4_sys_secure()) return EPERM;
  if (path != NULL && strlen(path) >= PATH_MAX) return ENAMETOOLONG;
  uint32_t pid = (uint32_t)hz4_syscall(SYS_getpid, 0);
  // In a child of vfork another thread of its parent's may be at it.
  if (hz4_front.lent || !hz4_turn_begin(&writing, pid)) return EBUSY;
  if (path != NULL) hz4_format(path_then, PATH_MAX, "%s", path);
  else name_file(pid, due, format);
  int error = write_file(format);
  hz4_turn_end(&writing);
  return error;
}

int hz4_profile_save(const char *path, enum hz4_profile_format format) {
  return save(path, HZ4_PROFILE_DUE_NUMBERED, format);
}

void hz4_profile_write_due(enum hz4_profile_due due) {
  static _Atomic(uint32_t) has_failed;
  enum hz4_profile_format format = hz4_option.profile_text != 0 ? HZ4_PROFILE_FORMAT_TEXT : HZ4_PROFILE_FORMAT_PPROF;
  int error = save(NULL, due, format);
  if (error == 0 || error == EBUSY || hz4_exchange_acquire(&has_failed, true)) return;  // said once; nothing to acquire
  hz4_warn_of_file("heap profiles cannot be written", error, hz4_option.profile);
}
