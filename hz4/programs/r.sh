#!/bin/bash
# R: matrices, sorting, models, strings, data frames, environments, and children by fork
set -eu
cat >script.R <<'R'
library <- Sys.getenv("LD_PRELOAD")
stopifnot(any(grepl(library, readLines("/proc/self/maps"), fixed = TRUE)))
set.seed(7, kind = "Mersenne-Twister")
show <- function(...) cat(..., "\n")
x <- matrix(rnorm(90000), 300)
show(signif(c(det(x[1:20, 1:20]), sum(solve(x + diag(300)) %*% x), svd(x)$d[1:3]), 6))
v <- runif(500000)
show(sum(order(v) * 1.0), format(sum(sort(v)[1:1000]), digits = 10), length(unique(round(v, 4))))
words <- sprintf("key%d-%s", (1:50000 * 7919) %% 5003, strrep("x", 1:50000 %% 30))
show(length(unique(words)), sum(nchar(gsub("x+(y?)", "<\\1>", words))))
show(substr(paste(words, collapse = ","), 1000, 1050))
frame <- data.frame(id = 1:20000, group = 1:20000 %% 17, value = rnorm(20000))
print(aggregate(value ~ group, frame, function(v) round(mean(v), 8)))
print(round(coef(lm(value ~ id + group, merge(frame, data.frame(group = 0:16, other = 16:0)))), 8))
e <- new.env()
for (i in 1:20000) assign(paste0("v", i %% 3000), c(get0(paste0("v", i %% 3000), e), i), e)
show(sum(unlist(eapply(e, length))), sum(sapply(split(frame$value, frame$group), length)))
for (i in 1:5) { l <- lapply(1:20000, function(i) list(i, as.character(i))); rm(l); invisible(gc()) }
show(unlist(parallel::mclapply(1:4, function(i) sum(sort(v * i)[1:10] > 0), mc.cores = 2)))
show(identical(unserialize(serialize(frame, NULL)), frame), system("echo from a shell", intern = TRUE))
R
R_DEFAULT_PACKAGES=utils,stats Rscript --vanilla script.R
