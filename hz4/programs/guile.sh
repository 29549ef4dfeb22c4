#!/bin/bash
# guile: threads, big numbers from malloc by GMP, hash tables, strings, continuations, evaluation
set -eu
cat >script.scm <<'SCM'
(use-modules (ice-9 threads) (ice-9 regex) (ice-9 control) (srfi srfi-1))
(define (show . items) (for-each display items) (newline))
(define (factorial n) (if (= n 0) 1 (* n (factorial (- n 1)))))
(show (modulo (factorial 3000) 1000000007) " " (string-length (number->string (expt 7 20000))))
(define table (make-hash-table))
(do ((i 0 (+ i 1))) ((= i 50000))
  (let ((key (modulo (* i 7919) 5003))) (hash-set! table key (cons i (hash-ref table key '())))))
(show (hash-fold (lambda (k v sum) (modulo (+ (* k (length v)) sum (apply + v)) 1000003)) 0 table))
(define text (string-join (map number->string (iota 20000)) ","))
(show (string-length (regexp-substitute/global #f "7+" text 'pre "<seven>" 'post)))
(show (par-map (lambda (n) (modulo (factorial n) 1000003)) (iota 40 100 7)))
(show (fold + 0 (par-map (lambda (n) (string-length (make-string (* n 100) #\x))) (iota 300))))
(show (call/ec (lambda (k) (for-each (lambda (i) (if (> i 500) (k i))) (iota 1000)) 'none)))
(define (loop n) `(let loop ((i 0) (l '())) (if (= i ,n) (length l) (loop (+ i 1) (cons i l)))))
(show (map (lambda (n) (eval (loop n) (interaction-environment))) '(10 1000 30000)))
(do ((i 0 (+ i 1))) ((= i 10)) (make-vector 100000 i) (gc))
(show (exact->inexact (/ (factorial 60) (expt 3 40))))
(show (sort (delete-duplicates (map (lambda (i) (modulo (* i i) 37)) (iota 300))) <))
SCM
GUILE_AUTO_COMPILE=0 guile --no-auto-compile -s script.scm
