#!/bin/bash
# git: a history is made, cloned, changed, merged, packed again and checked.
set -eu
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME=Author GIT_AUTHOR_EMAIL=author@example.com GIT_AUTHOR_DATE='1700000000 +0000'
export GIT_COMMITTER_NAME=Committer GIT_COMMITTER_EMAIL=committer@example.com GIT_COMMITTER_DATE='1700000000 +0000'

git -c init.defaultBranch=main init -q origin
cd origin
git config gc.auto 0 # nothing may run on in the background
git config pack.threads 4

# 300 commits over 40 files that grow.
awk 'BEGIN {
  for (commit = 1; commit <= 300; commit++) {
    printf "commit refs/heads/main\ncommitter C <c@example.com> %d +0000\ndata <<END\ncommit %d\nEND\n", \
           1600000000 + commit, commit
    for (file = commit % 7; file < 40; file += 7) {
      printf "M 644 inline dir%d/file%d.txt\ndata <<END\n", file % 4, file
      for (line = 0; line < 10 + commit / 2; line++) print file, line, (line * 7919 + file * commit) % 1000
      print "END"
    }
  }
}' | git fast-import --quiet
git checkout -q -f main
git rev-parse HEAD 'HEAD^{tree}'

for branch in one two; do
  git checkout -q -b "$branch" HEAD
  for i in 1 2 3 4 5; do
    seq "$i" 3000 >"$branch-$i.txt"
    git add .
    git commit -q -m "$branch $i"
  done
  git checkout -q main
done
git merge -q --no-edit one
git merge -q --no-edit two
git rev-parse HEAD one two
cd ..

git clone -q origin by_links
git clone -q "file://$PWD/origin" by_protocol
git clone -q --bare --depth 20 "file://$PWD/origin" shallow
for clone in by_links by_protocol shallow; do
  git -C "$clone" rev-parse HEAD
  git -C "$clone" rev-list --count --all
done

cd by_protocol
git -c gc.autoDetach=false -c pack.threads=4 gc -q --aggressive --prune=now
git fsck --full --strict --no-progress
git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
git rev-list --objects --all | sort | sha256sum
git log --stat -p -M --format=fuller | sha256sum
git blame -l dir1/file1.txt | sha256sum
git grep -c 77 | sha256sum
git archive --format=tar HEAD | sha256sum
git bundle create -q ../all.bundle --all
git bundle verify -q ../all.bundle
git status --porcelain
