// The rows over the names that every libc has, and that a static program can find.
#include "hz4/contract/suite.h"

const struct contract_row *const contract_rows[] = {CONTRACT_ROWS_OF_EVERY_PROGRAM, &contract_libc_calls, NULL};
