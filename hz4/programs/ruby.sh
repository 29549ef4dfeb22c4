#!/bin/bash
# ruby: strings, hashes, threads, fibers, Marshal, fork, compaction
set -eu
ruby - <<'RUBY'
require 'digest'
require 'json'
require 'zlib'
def digest(text) = Digest::SHA256.hexdigest(text)[0, 16]

words = Hash.new { |hash, key| hash[key] = +'' }
50_000.times { |i| words["key#{i * 7919 % 5003}"] << "#{i} " }
puts "hash #{words.size} #{digest(words.sort.to_s)}"
text = words.values.join(',').gsub(/(\d)7/) { "<#{$1}>" }.upcase
puts "strings #{text.size} #{digest(text)} #{text.scan(/<\d>/).size}"

queue, results = Queue.new, Queue.new
threads = 4.times.map do
  Thread.new do
    while (item = queue.pop)
      results << Zlib.crc32(Zlib.inflate(Zlib.deflate('x' * item + item.to_s)))
    end
  end
end
1000.times { |i| queue << i * 37 % 5000 }
4.times { queue << nil }
threads.each(&:join)
puts "threads #{1000.times.sum { results.pop }}"
fibers = 200.times.map { |i| Fiber.new { 20.times { |j| Fiber.yield 'y' * (i + j) } } }
puts "fibers #{20.times.sum { fibers.sum { |fiber| fiber.resume.size } }}"

tree = (1..5000).map { |i| { id: i, list: (1..i % 20).to_a, name: "name#{i}", value: i * 1.5, big: 3**(i % 300) } }
puts "marshal #{Marshal.load(Marshal.dump(tree)) == tree}"
puts "json #{digest(JSON.generate(JSON.parse(JSON.pretty_generate(tree))))}"
children = 4.times.map do |i|
  reader, writer = IO.pipe
  pid = fork { writer.puts digest(tree.map { |row| row[:name].reverse }.sort.to_s); exit!(i) }
  writer.close
  [reader.read.strip, Process.wait2(pid)[1].exitstatus]
end
puts "children #{children} #{`echo from a shell`}"
tree = nil
GC.start
GC.compact
puts "slices #{(1..20_000).map { |i| i.to_s * 3 }.each_slice(7).map(&:join).max} #{2**2000 % 1_000_007}"
RUBY
