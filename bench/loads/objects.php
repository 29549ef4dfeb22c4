<?php
// Strings, arrays and objects that live for a while; prints what does not vary from run to run.
$live = [];
$state = $total = 0;
for ($i = 0; $i < 800000; $i++) {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    $size = ($state >> 16) % 200;
    switch ($i % 4) {
        case 0: $value = str_repeat('x', $size * 4); break;
        case 1: $value = array_fill(0, 1 + $size % 30, $i); break;
        case 2: $value = ['id' => $i, 'name' => "name$i", 'list' => [$size]]; break;
        default: $value = new stdClass; $value->id = "$i"; $value->size = $size;
    }
    $live[($state >> 8) % 20000] = $value;
    $total += $size;
}
echo $total, ' ', count($live), ' ', strlen(serialize($live)), "\n";
