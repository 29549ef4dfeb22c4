# Strings, arrays and hashes that live for a while; prints what does not vary from run to run.
live = Array.new(20_000)
state = total = 0
200_000.times do |i|
  state = (state * 1_103_515_245 + 12_345) & 0x7fffffff
  size = (state >> 16) % 200
  value =
    case i % 4
    when 0 then 'x' * (size * 4)
    when 1 then Array.new(size / 2, i)
    when 2 then { id: i, name: i.to_s * 8, list: [size] * 10 }
    else +'' << i.to_s << ('y' * size)
    end
  at = (state >> 8) % live.size
  total += live[at].size if live[at]
  live[at] = value
end
puts total, live.compact.sum(&:size)
