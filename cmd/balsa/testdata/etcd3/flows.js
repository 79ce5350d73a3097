// Drives npm's etcd3 client: `node flows.js ENDPOINT...`. It prints "ok NAME" for each flow that went well, and exits with 1 at
// the first one that did not. At "kill the leader" it waits for a line, and at "start it again" for another: whoever runs it does so.
'use strict';
const assert = require('node:assert/strict');
const { once } = require('node:events');
const readline = require('node:readline');
const { Etcd3, EtcdLockFailedError } = require('etcd3');

const client = new Etcd3({ hosts: process.argv.slice(2) });
const orders = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function ordered(what) {
  console.log(what);
  await orders.next();
}

// told collects a watcher's events, and lets one wait until there are so many.
function told(watcher) {
  const events = [];
  let arrived = () => {};
  watcher.on('put', (kv) => { events.push(`put ${kv.key}=${kv.value}`); arrived(); });
  watcher.on('delete', (kv) => { events.push(`delete ${kv.key}`); arrived(); });
  return async (n) => {
    while (events.length < n) await new Promise((resolve) => { arrived = resolve; });
    return events;
  };
}

// insist asks again until it is answered: between two leaders requests are refused, or of unknown outcome.
async function insist(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      console.log(`again, since ${error.message}`);
    }
  }
}

const flows = {
  async 'put, get, delete'() {
    assert.equal(await client.get('absent'), null);
    await client.put('key').value('one');
    assert.equal(await client.get('key').string(), 'one');
    await client.put('numbers/1').value(1);
    await client.put('numbers/2').value(2);
    assert.deepEqual(await client.getAll().prefix('numbers/').numbers(), { 'numbers/1': 1, 'numbers/2': 2 });
    assert.deepEqual(await client.getAll().prefix('numbers/').sort('Key', 'Descend').limit(1).keys(), ['numbers/2']);
    assert.equal((await client.put('key').value('two').getPrevious()).value.toString(), 'one');
    assert.equal((await client.delete().prefix('numbers/')).deleted, '2');
    assert.equal(await client.getAll().prefix('numbers/').count(), 0);
  },

  async 'a transaction'() {
    const swap = (from, to) => client.if('key', 'Value', '==', from).then(client.put('key').value(to)).else(client.get('key')).commit();
    assert.equal((await swap('two', 'three')).succeeded, true);
    const refused = await swap('two', 'four');
    assert.equal(refused.succeeded, false);
    assert.equal(refused.responses[0].response_range.kvs[0].value.toString(), 'three');
    await client.stm().transact((tx) => tx.get('key').then((was) => tx.put('key').value(`${was} and more`)));
    assert.equal(await client.get('key').string(), 'three and more');
  },

  async 'namespaces'() {
    const space = client.namespace('space/');
    await space.put('key').value('inside');
    assert.equal(await client.get('space/key').string(), 'inside');
    assert.deepEqual(await space.getAll().keys(), ['key']);
    await space.delete().all();
    assert.equal(await client.get('key').string(), 'three and more');
  },

  async 'a watch, through a kill of the leader'() {
    const watcher = await client.watch().prefix('watched/').create();
    const events = told(watcher);
    await client.put('watched/1').value('before');
    await client.delete().key('watched/1');
    await events(2);
    await ordered('kill the leader');
    await insist(() => client.put('watched/2').value('between'));
    await ordered('start it again');
    await insist(() => client.put('watched/3').value('after'));
    let seen = [];
    for (let n = 3; !seen.includes('put watched/3=after'); n++) seen = await events(n);
    // a put that was asked for again may be there twice
    assert.deepEqual([...new Set(seen)],
      ['put watched/1=before', 'delete watched/1', 'put watched/2=between', 'put watched/3=after']);
    await watcher.cancel();
    const past = await client.watch().prefix('watched/').startRevision('1').create();
    assert.deepEqual((await told(past)(seen.length)), seen);
    await past.cancel();
  },

  async 'a lease'() {
    const lease = client.lease(5);
    await lease.put('leased').value('for now');
    await once(lease, 'keepaliveSucceeded');
    assert.equal(await client.get('leased').string(), 'for now');
    await lease.revoke();
    assert.equal(await client.get('leased').string(), null);
    const forgotten = client.lease(1, { autoKeepAlive: false });
    await forgotten.put('forgotten').value('soon gone');
    const watcher = await client.watch().key('forgotten').startRevision('1').create();
    assert.deepEqual(await told(watcher)(2), ['put forgotten=soon gone', 'delete forgotten']);
    await watcher.cancel();
    forgotten.release();
  },

  async 'a lock'() {
    const lock = client.lock('lock').ttl(5);
    await lock.acquire();
    await assert.rejects(client.lock('lock').ttl(5).acquire(), EtcdLockFailedError);
    await lock.release();
    await client.lock('lock').do(async () => {});
  },

  async 'an election'() {
    const election = client.election('election', 5);
    const first = election.campaign('first');
    await once(first, 'elected');
    const observer = await election.observe();
    assert.equal(observer.leader() ?? await election.leader(), 'first');
    const second = election.campaign('second');
    const change = new Promise((resolve) => observer.on('change', (to) => to === 'second' && resolve()));
    await second.getCampaignKey(); // it waits in the queue
    await Promise.all([first.resign(), once(second, 'elected'), change]);
    assert.equal(await election.leader(), 'second');
    await observer.cancel();
    await second.resign();
  },
};

(async () => {
  for (const [name, flow] of Object.entries(flows)) {
    await flow();
    console.log(`ok ${name}`);
  }
  client.close();
  process.exit(0);
})().catch((error) => {
  console.log(error);
  process.exit(1);
});
