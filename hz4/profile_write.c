#include "hz4/profile_write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "hz4/atomic.h"
#include "hz4/maps.h"
#include "hz4/options.h"
#include "hz4/sample.h"
#include "hz4/sys.h"
#include "hz4/syscall.h"
#include "hz4/writer.h"

// ---- the file ----

struct file {
  int fd, error;
  size_t used;
  char buffer[HZ4_PROFILE_BUFFER_BYTES];
};

static void flush(struct file *f) {
  for (size_t done = 0; done < f->used && f->error == 0;) {
    long n = hz4_syscall(SYS_write, f->fd, f->buffer + done, f->used - done);
    if (n > 0) done += (size_t)n;
    else if (n != -EINTR) f->error = n == 0 ? EIO : (int)-n;
  }
  f->used = 0;
}

static void put(struct file *f, const void *data, size_t bytes) {
  const char *from = data;
  while (bytes != 0) {
    if (f->used == sizeof(f->buffer)) flush(f);
    size_t room = sizeof(f->buffer) - f->used, n = bytes < room ? bytes : room;
    memcpy(f->buffer + f->used, from, n);
    f->used += n;
    from += n;
    bytes -= n;
  }
}

// ---- text ----

static void put_text(struct file *f, const char *text) {
  put(f, text, strlen(text));
}

static void put_number(struct file *f, uint64_t number, unsigned base) {
  char digits[20], *start = digits + sizeof(digits);
  do *--start = "0123456789abcdef"[number % base];
  while ((number /= base) != 0);
  put(f, start, (size_t)(digits + sizeof(digits) - start));
}

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

static void put_counts(struct file *f, struct counts live, struct counts allocated) {
  put_number(f, live.objects, 10);
  put_text(f, ": ");
  put_number(f, live.bytes, 10);
  put_text(f, " [");
  put_number(f, allocated.objects, 10);
  put_text(f, ": ");
  put_number(f, allocated.bytes, 10);
  put_text(f, "] @");
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
  put_text(context, line);
  put_text(context, "\n");
}

static void write_text(struct file *f) {
  struct counts live = {0, 0}, allocated = {0, 0};
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    add(&live, live_of(site));
    add(&allocated, allocated_of(site));
  }
  put_text(f, "heap profile: ");
  put_counts(f, live, allocated);
  put_text(f, " heap_v2/");
  put_number(f, hz4_profile_mean(), 10);
  put_text(f, "\n");
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    put_counts(f, live_of(site), allocated_of(site));
    for (uint32_t i = 0; i < site->depth; ++i) {
      put_text(f, " 0x");
      put_number(f, site->stack[i], 16);
    }
    put_text(f, "\n");
  }
  put_text(f, "\nMAPPED_LIBRARIES:\n");
  hz4_maps_read(copy_line, f);
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

// Room for six fields that are numbers.
struct message {
  size_t used;
  uint8_t bytes[6 * (1 + VARINT_BYTES_MAX)];
};

static size_t encode(uint8_t *out, uint64_t value) {
  size_t n = 0;
  for (; value >= 128; value >>= 7) out[n++] = (uint8_t)(value | 128);
  out[n++] = (uint8_t)value;
  return n;
}

static void number(struct message *m, unsigned field, uint64_t value) {
  m->used += encode(m->bytes + m->used, field << 3 | VARINT);
  m->used += encode(m->bytes + m->used, value);
}

static size_t encode_head(uint8_t *out, unsigned field, size_t bytes) {
  size_t n = encode(out, field << 3 | BYTES);
  return n + encode(out + n, bytes);
}

static void put_head(struct file *f, unsigned field, size_t bytes) {
  uint8_t head[2 * VARINT_BYTES_MAX];
  put(f, head, encode_head(head, field, bytes));
}

static void put_bytes(struct file *f, unsigned field, const void *data, size_t bytes) {
  put_head(f, field, bytes);
  put(f, data, bytes);
}

static void put_message(struct file *f, unsigned field, const struct message *m) {
  put_bytes(f, field, m->bytes, m->used);
}

static void put_field(struct file *f, unsigned field, uint64_t value) {
  struct message m;
  m.used = 0;
  number(&m, field, value);
  put(f, m.bytes, m.used);
}

static void put_type(struct file *f, unsigned field, unsigned name) {
  struct message m;
  m.used = 0;
  number(&m, TYPE_NAME, name);
  number(&m, TYPE_UNIT, name + 1);
  put_message(f, field, &m);
}

// While it is written: where code is, and which return addresses have a location already (open addressing).
struct code {
  uintptr_t start, end;
};
struct proto {
  struct file *file;
  uint64_t strings;  // so far
  size_t codes, slots, slots_used;
  struct code *code;      // in rising order; the mapping's id is the index and 1
  uintptr_t *address_of;  // slots
  uint8_t *locations;     // of one sample, encoded
};
#define LOCATIONS_BYTES_MAX ((size_t)HZ4_SAMPLE_FRAMES * VARINT_BYTES_MAX)

static void add_string(struct proto *p, const char *text) {
  put_bytes(p->file, PROFILE_STRING, text, strlen(text));
  ++p->strings;
}

static void add_mapping(void *context, const char *line, const struct hz4_map *map) {
  struct proto *p = context;
  (void)line;
  if (!map->is_code || map->path[0] == '\0' || p->codes == HZ4_PROFILE_MAPPINGS) return;
  p->code[p->codes++] = (struct code){map->start, map->end};
  struct message m;
  m.used = 0;
  number(&m, MAPPING_ID, p->codes);
  number(&m, MAPPING_START, map->start);
  number(&m, MAPPING_END, map->end);
  number(&m, MAPPING_OFFSET, map->offset);
  number(&m, MAPPING_FILE, p->strings);
  add_string(p, map->path);
  char build_id[HZ4_BUILD_ID_TEXT_BYTES];
  if (hz4_maps_build_id(map, build_id)) {
    number(&m, MAPPING_BUILD_ID, p->strings);
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
  struct message m;
  m.used = 0;
  number(&m, LOCATION_ID, ra);
  if (mapping != 0) number(&m, LOCATION_MAPPING, mapping);
  number(&m, LOCATION_ADDRESS, ra - 1);
  put_message(p->file, PROFILE_LOCATION, &m);
}

static void add_sample(struct proto *p, const struct hz4_profile_site *site) {
  const uint64_t values[VALUES] = {
      hz4_profile_objects(hz4_load_relaxed(&site->allocated_parts)), hz4_load_relaxed(&site->allocated_bytes),
      hz4_profile_objects(hz4_load_relaxed(&site->live_parts)),      hz4_load_relaxed(&site->live_bytes),
      hz4_load_relaxed(&site->held_bytes),
  };
  uint8_t encoded[VALUES * VARINT_BYTES_MAX];
  size_t bytes = 0, used = 0;
  for (int i = 0; i < VALUES; ++i) bytes += encode(encoded + bytes, values[i]);
  for (uint32_t i = 0; i < site->depth; ++i) {
    add_location(p, site->stack[i]);
    used += encode(p->locations + used, site->stack[i]);
  }
  uint8_t heads[2][2 * VARINT_BYTES_MAX];
  size_t head0 = encode_head(heads[0], SAMPLE_LOCATION, used), head1 = encode_head(heads[1], SAMPLE_VALUE, bytes);
  put_head(p->file, PROFILE_SAMPLE, head0 + used + head1 + bytes);
  put(p->file, heads[0], head0);
  put(p->file, p->locations, used);
  put(p->file, heads[1], head1);
  put(p->file, encoded, bytes);
}

static void put_all(struct proto *p) {
  struct file *f = p->file;
  // First what tells a profile from other files, for it is the first field.
  for (unsigned i = 0; i < VALUES; ++i) put_type(f, PROFILE_SAMPLE_TYPE, STRING_OF_VALUE(i));
  for (int i = 0; i < STRINGS; ++i) add_string(p, first_strings[i]);
  put_type(f, PROFILE_PERIOD_TYPE, STRING_SPACE);
  put_field(f, PROFILE_PERIOD, hz4_profile_mean());
  put_field(f, PROFILE_DROPPED, STRING_DROPPED);
  put_field(f, PROFILE_DEFAULT_TYPE, STRING_OF_VALUE(VALUE_INUSE_SPACE));
  struct timespec now = {0};
  hz4_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  put_field(f, PROFILE_TIME_NS, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
  hz4_maps_read(add_mapping, p);
  // What came since the slots were counted may find no place.
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) {
    if (p->slots_used + site->depth < p->slots) add_sample(p, site);
  }
}

static void write_proto(struct file *f) {
  size_t frames = 0, slots = 1024;
  for (struct hz4_profile_site *site = NULL; (site = hz4_profile_next(site)) != NULL;) frames += site->depth;
  while (slots < 2 * frames) slots *= 2;
  struct proto p = {.file = f, .slots = slots};
  size_t bytes = HZ4_PROFILE_MAPPINGS * sizeof(*p.code) + slots * sizeof(*p.address_of) + LOCATIONS_BYTES_MAX;
  bytes = hz4_round_up(bytes, hz4_sys_page_bytes());
  p.code = hz4_sys_mmap(NULL, bytes);
  if (p.code == NULL) {
    f->error = ENOMEM;
    return;
  }
  p.address_of = (uintptr_t *)(p.code + HZ4_PROFILE_MAPPINGS);
  p.locations = (uint8_t *)(p.address_of + slots);
  put_all(&p);
  hz4_sys_munmap(p.code, bytes);
}

// ---- names ----

static size_t append(char *path, size_t used, const char *text) {
  while (*text != '\0' && used < PATH_MAX - 1) path[used++] = *text++;
  path[used] = '\0';
  return used;
}

static void name_of(char *path, const char *prefix, long pid, enum hz4_profile_due due, enum hz4_profile_format format) {
  static const char *const words[] = {[HZ4_PROFILE_DUE_PEAK] = "peak", [HZ4_PROFILE_DUE_EXIT] = "exit"};
  static uint64_t last;  // of those that have numbers
  struct hz4_writer w = {.buffer = path, .size = PATH_MAX - 1, .fd = -1};
  hz4_put_text(&w, prefix);
  hz4_put_text(&w, ".");
  hz4_put_number(&w, (uint64_t)pid);
  hz4_put_text(&w, ".");
  if (due == HZ4_PROFILE_DUE_NUMBERED) {
    ++last;
    for (uint64_t least = 1000; least > last; least /= 10) hz4_put_text(&w, "0");
    hz4_put_number(&w, last);
  } else {
    hz4_put_text(&w, words[due]);
  }
  hz4_put_text(&w, format == HZ4_PROFILE_FORMAT_TEXT ? ".heap" : ".pb");
  path[w.used] = '\0';
}

// ---- a profile ----

// Who writes, by its process: one that has forked while another thread wrote has not that thread.
static _Atomic(int) writer;
static struct file file;                // the writer's
static char path_then[PATH_MAX];        // what the file will be called,
static char path_now[PATH_MAX + 8];     // and what it is called while it is written

static bool begin(int pid) {
  int seen = hz4_load_relaxed(&writer);
  return seen != pid && hz4_cas_strong_acquire(&writer, &seen, pid);  // pairs with end: the buffers
}

static void end(void) {
  hz4_store_release(&writer, 0);  // pairs with begin
}

static int write_file(const char *path, enum hz4_profile_format format) {
  size_t used = append(path_now, 0, path);
  append(path_now, used, ".part");
  hz4_syscall(SYS_unlinkat, AT_FDCWD, path_now, 0);
  long fd = hz4_syscall(SYS_openat, AT_FDCWD, path_now, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return (int)-fd;
  file.fd = (int)fd;
  file.error = 0;
  file.used = 0;
  if (format == HZ4_PROFILE_FORMAT_TEXT) write_text(&file);
  else write_proto(&file);
  flush(&file);
  long closed = hz4_syscall(SYS_close, fd);
  if (file.error == 0 && closed < 0) file.error = (int)-closed;
  if (file.error == 0) file.error = (int)-hz4_syscall(SYS_renameat2, AT_FDCWD, path_now, AT_FDCWD, path, 0);
  if (file.error != 0) hz4_syscall(SYS_unlinkat, AT_FDCWD, path_now, 0);
  return file.error;
}

static int save(const char *path, enum hz4_profile_due due, enum hz4_profile_format format) {
  if (hz4_profile_mean() == 0 || (path == NULL && hz4_option.profile[0] == '\0')) return EINVAL;
  if (hz4_sys_secure()) return EPERM;
  long pid = hz4_syscall(SYS_getpid, 0);
  if (!begin((int)pid)) return EBUSY;
  int error = 0;
  if (path != NULL && strlen(path) >= PATH_MAX) error = ENAMETOOLONG;
  else if (path != NULL) append(path_then, 0, path);
  else name_of(path_then, hz4_option.profile, pid, due, format);
  if (error == 0) {
    hz4_profile_look_at_spans();
    error = write_file(path_then, format);
  }
  end();
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
  hz4_warn(error == EPERM ? "no heap profile: the program has rights of another, or it may not be written: "
                          : "no heap profile: the file cannot be written: ",
           hz4_option.profile);
}
