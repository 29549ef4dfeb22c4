// Prints what does not vary from run to run.
'use strict';
const assert = require('assert');
const childProcess = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const util = require('util');
const zlib = require('zlib');
const { isMainThread, parentPort, Worker, workerData } = require('worker_threads');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

function churn(seed) {
  const buffers = [];
  let state = seed;
  let sum = 0;
  for (let i = 0; i < 20000; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    const at = state % 300;
    if (buffers[at]) sum = (sum + buffers[at][0] + buffers[at].length) % 1000007;
    buffers[at] = Buffer.alloc(1 + (state % 20000), i % 256);
  }
  return [sum, digest(Buffer.concat(buffers.filter(Boolean)))];
}

async function serve() {
  const server = http.createServer((request, response) => {
    request.pipe(zlib.createGzip()).pipe(response);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const ask = (body) => new Promise((done, failed) => {
    const options = { host: '127.0.0.1', port: server.address().port, method: 'POST', agent: false };
    const request = http.request(options, (response) => {
      const parts = [];
      const unpacked = response.pipe(zlib.createGunzip());
      unpacked.on('data', (part) => parts.push(part)).on('end', () => done(Buffer.concat(parts)));
    });
    request.on('error', failed).end(body);
  });
  const bodies = Array.from({ length: 30 }, (_, i) => Buffer.alloc(1000 + i * 7000, `body ${i},`));
  const answers = await Promise.all(bodies.map(ask));
  server.close();
  return digest(Buffer.concat(answers)) === digest(Buffer.concat(bodies));
}

async function main() {
  if (process.env.LD_PRELOAD) {
    assert(fs.readFileSync('/proc/self/maps', 'utf8').includes(process.env.LD_PRELOAD), 'LD_PRELOAD had no effect');
  }
  console.log('main', churn(1));

  const workers = [1, 2, 3, 4].map((seed) => new Promise((done, failed) => {
    new Worker(__filename, { workerData: seed }).on('message', done).on('error', failed);
  }));
  console.log('workers', await Promise.all(workers));

  const text = JSON.stringify(Array.from({ length: 20000 }, (_, i) => ({ id: i, word: `word-${(i * 31) % 1009}` })));
  assert.strictEqual(JSON.stringify(JSON.parse(text)), text);
  const packed = await Promise.all([1, 5, 9].map((level) => util.promisify(zlib.deflate)(text, { level })));
  const brotli = zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } });
  const unpacked = await Promise.all(packed.map((data) => util.promisify(zlib.inflate)(data)));
  unpacked.push(zlib.brotliDecompressSync(brotli));
  console.log('zlib', unpacked.every((data) => data.toString() === text));
  const scrypt = util.promisify(crypto.scrypt);
  const keys = await Promise.all([1, 2, 3, 4].map((i) => scrypt(`word${i}`, 'salt', 32, { N: 2048 })));
  console.log('scrypt', digest(Buffer.concat(keys)));
  console.log('http', await serve());

  const children = [1, 2, 3].map((i) => childProcess.spawnSync(process.execPath,
    ['-e', `process.stdin.on('data', () => {}); console.log('x'.repeat(${i}000).length)`],
    { input: Buffer.alloc(100000) }));
  console.log('children', children.map((child) => [child.status, child.stdout.toString()]));
  global.gc();
  console.log('arrays', new Float64Array(3000000).fill(0.5).reduce((a, b) => a + b));
  console.log('map', new Map(Object.entries({ ...text.slice(0, 50000) })).size);
}

if (isMainThread) {
  main();
} else {
  parentPort.postMessage(churn(workerData));
}
