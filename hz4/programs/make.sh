#!/bin/bash
# make: 400 targets from rules, functions and recursion, two jobs at a time
set -eu
cat >Makefile <<'MAKE'
numbers := $(shell seq 1 400)
files := $(foreach n,$(numbers),out/$(n).txt)
reverse = $(if $(1),$(call reverse,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
define rule
out/all-$(1).txt: $$(filter %$(1).txt,$(files))
	@cat $$^ >$$@
all: out/all-$(1).txt
endef
all:
$(foreach digit,0 1 2 3 4 5 6 7 8 9,$(eval $(call rule,$(digit))))
out/%.txt: | out
	@echo $* $(words $(filter %$*,$(numbers))) >$@
out:
	@mkdir $@
sub: ; @$(MAKE) --no-print-directory -f Makefile.sub
$(info $(call reverse,$(wordlist 1,200,$(numbers))))
$(info $(words $(sort $(patsubst %7,x,$(subst 3,4,$(numbers))))))
MAKE
# shellcheck disable=SC2016 # make's variables
echo 'all: ; @echo level $(MAKELEVEL); [ $(MAKELEVEL) -gt 5 ] || $(MAKE) -f Makefile.sub' >Makefile.sub
make -j2 all
cat out/all-*.txt | sha256sum
make -j2 all
rm out/77.txt
make -n all
make -qp all 2>/dev/null | grep -c '^out/.*:' || true
make --no-print-directory sub | grep level
