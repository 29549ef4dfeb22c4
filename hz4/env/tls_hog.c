// A library that takes BYTES of static TLS for good.
static __thread char hog[BYTES] __attribute__((tls_model("initial-exec"), aligned(16)));

char *hog_address(void) {
  return hog;
}
