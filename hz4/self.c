#include "hz4/self.h"

__thread struct hz4_self hz4_self __attribute__((tls_model("initial-exec")));
