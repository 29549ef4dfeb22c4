#!/bin/bash
# lua: tables, strings, closures, coroutines, the collector in both modes
set -eu
lua5.4 - <<'LUA'
local function digest(text)
  local sum = 0
  for i = 1, #text, 7 do sum = (sum * 31 + text:byte(i)) % 4294967291 end
  return sum
end

for _, mode in ipairs { "incremental", "generational" } do
  collectgarbage(mode)
  local words, state = {}, 12345
  for i = 1, 200000 do
    state = (state * 1103515245 + 12345) % 2147483648
    local key = "key" .. state % 5003
    words[key] = (words[key] or "") .. i % 10
    if #words[key] > 100 then words[key] = nil end
  end
  local keys = {}
  for key in pairs(words) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do keys[i] = key .. "=" .. words[key] end
  local text = table.concat(keys, ",")
  print(mode, #keys, #text, digest(text))
  print(digest(text:gsub("(%d+)=(%d)", "%2<%1>"):upper()), select(2, text:gsub("key1", "")))

  local threads = {}
  for i = 1, 2000 do
    threads[i] = coroutine.wrap(function()
      local list = {}
      for j = 1, 50 do list[j] = string.rep("x", i % 100 + j); coroutine.yield(#list[j]) end
      return #table.concat(list)
    end)
  end
  local sum = 0
  for _ = 1, 51 do for i = 1, #threads do sum = sum + threads[i]() end end
  print("coroutines", sum)

  local weak = setmetatable({}, { __mode = "k" })
  for i = 1, 100000 do weak[{ i, tostring(i) }] = function() return i end end
  collectgarbage()
  print("weak", next(weak), pcall(string.rep, "x", 1 << 40))
end
LUA
