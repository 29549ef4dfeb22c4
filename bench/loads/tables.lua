-- Tables, strings and closures, all of which come from realloc; prints what does not vary from run to run.
local live, state, total = {}, 0, 0
for i = 1, 220000 do
  state = (state * 1103515245 + 12345) % 2147483648
  local at, size, value = (state >> 8) % 50000, (state >> 16) % 200, nil
  if i % 4 == 0 then
    value = string.rep("x", size) .. i
  elseif i % 4 == 1 then
    value = { i, size, tostring(i) }
  elseif i % 4 == 2 then
    value = { id = i, name = "name" .. i % 1000, list = { size } }
  else
    value = function() return i + size end
  end
  live[at] = value
  total = (total + size) % 1000003
end
local strings = {}
for _, value in pairs(live) do
  if type(value) == "string" then strings[#strings + 1] = value end
end
table.sort(strings)
print(total, #strings, strings[1], #table.concat(strings))
