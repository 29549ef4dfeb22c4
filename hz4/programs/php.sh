#!/bin/bash
# php: with its own allocator above malloc and without it: arrays, strings, regular expressions, references, generators
set -eu
cat >workload.php <<'PHP'
<?php
$words = [];
for ($i = 0; $i < 60000; $i++) {
    $key = 'key' . $i * 7919 % 5003;
    $words[$key] = ($words[$key] ?? '') . $i;
    if (strlen($words[$key]) > 50) unset($words[$key]);
}
ksort($words);
echo count($words), ' ', md5(json_encode($words)), "\n";
$text = implode(',', $words);
echo strlen($text), ' ', md5(preg_replace_callback('/(\d)7+/', fn($m) => "<$m[1]>" . strlen($m[0]), $text)), "\n";
echo md5(serialize(unserialize(serialize(array_chunk(str_split($text, 13), 7))))), "\n";
for ($round = 0; $round < 3; $round++) {
    $nodes = [];
    for ($i = 0; $i < 20000; $i++) { $nodes[$i] = new stdClass; $nodes[$i]->id = "$i"; }
    foreach ($nodes as $i => $node) $node->next = $nodes[($i * 7 + 1) % 20000];
    unset($nodes, $node);
    echo gc_collect_cycles(), "\n";
}
function generate($n) { for ($i = 0; $i < $n; $i++) yield str_repeat('x', $i % 3000); }
$sum = 0;
foreach (generate(20000) as $s) $sum += strlen($s);
echo $sum, ' ', hash('sha256', str_pad('', 3000000, 'word')), "\n";
echo array_sum(array_map('strlen', explode('7', $text))), "\n";
$sorted = range(1, 50000);
usort($sorted, fn($a, $b) => $a * 7919 % 50021 <=> $b * 7919 % 50021);
echo md5(implode(' ', $sorted)), ' ', shell_exec('echo from a shell');
PHP
php -n -d memory_limit=512M workload.php
USE_ZEND_ALLOC=0 php -n -d memory_limit=512M workload.php
