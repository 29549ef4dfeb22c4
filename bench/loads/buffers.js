// Buffers that live for a while, in the main thread and two workers; prints what does not vary from run to run.
'use strict';
const { isMainThread, parentPort, Worker, workerData } = require('worker_threads');

function churn(seed) {
  const live = [];
  let state = seed;
  let sum = 0;
  for (let i = 0; i < 70000; i++) {
    state = (state * 1103515245 + 12345) % 2147483648;
    const at = state % 500;
    if (live[at]) sum = (sum + live[at][0] + live[at].length) % 1000007;
    live[at] = Buffer.alloc(1 + (state % 20000), i % 256);
  }
  return sum;
}

if (isMainThread) {
  const workers = [1, 2].map((seed) => new Promise((done, failed) => {
    new Worker(__filename, { workerData: seed }).on('message', done).on('error', failed);
  }));
  Promise.all([churn(3), ...workers]).then((sums) => console.log(sums));
} else {
  parentPort.postMessage(churn(workerData));
}
