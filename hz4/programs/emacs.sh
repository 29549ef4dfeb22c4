#!/bin/bash
# emacs in batch mode: buffers, regular expressions, the byte compiler, JSON, processes, font locking, org to HTML
set -eu
cat >script.el <<'EL'
(setq org-export-with-author nil org-export-time-stamp-file nil org-html-postamble nil)
(with-temp-buffer
  (dotimes (i 20000) (insert (format "line %d %d word\n" i (% (* i 7919) 10007))))
  (goto-char (point-min))
  (while (re-search-forward "\\([0-9]+\\) \\([0-9]+\\)" nil t) (replace-match "\\2-\\1"))
  (sort-lines nil (point-min) (point-max))
  (princ (format "%s\n" (secure-hash 'sha256 (current-buffer))))
  (emacs-lisp-mode)
  (insert-file-contents (locate-library "simple.el.gz") nil nil nil t)
  (font-lock-ensure)
  (princ (format "%s %s\n" (buffer-size) (secure-hash 'md5 (format "%S" (buffer-substring 1 30000))))))
(let ((table (make-hash-table :test 'equal)) (text ""))
  (dotimes (i 50000) (push i (gethash (format "key%d" (% (* i 31) 1009)) table)))
  (maphash (lambda (key value) (setq text (concat text key (number-to-string (apply '+ value))))) table)
  (garbage-collect)
  (princ (format "%s %s\n" (length text) (md5 text))))
(let ((tree (cl-loop for i below 3000 collect `((id . ,i) (word . ,(make-string (% i 50) ?x))))))
  (let* ((text (json-serialize (vconcat tree))) (again (json-parse-string text :object-type 'alist)))
    (princ (format "%s\n" (equal text (json-serialize again))))))
(princ (shell-command-to-string "seq 1 5000 | md5sum"))
(let ((sum 0))
  (dotimes (i 300)
    (let ((function (byte-compile `(lambda (x) (let ((y (* x ,i))) (mapcar #'1+ (list x y)))))))
      (setq sum (+ sum (apply '+ (funcall function 3))))))
  (princ (format "%d\n" sum)))
(with-temp-buffer
  (require 'ox-html)
  (dotimes (i 60) (insert (format "* Heading %d\nSome *bold* text.\n| a | %d |\n|---+---|\n| b | c |\n- item\n" i i)))
  (org-mode)
  (princ (format "%s\n" (length (org-export-as 'html nil nil t)))))
(princ (format "%s\n" (mod (expt 7 5000) 1000007)))
EL
emacs -Q --batch -l cl-lib -l script.el 2>emacs.log || { cat emacs.log >&2; exit 1; }
