// What docs/consumers.md warns of, with the versions that package.json names: a warning that is not true any more fails here.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CloudEvent, HTTP } from 'cloudevents';
import express from 'express';
import Fastify from 'fastify';

const event = (id) => new CloudEvent({ id, source: '/s', type: 'com.mandrill.message.open', data: { event: 'open' } });
const batch = JSON.stringify([event('1'), event('2')]);
const batchHeaders = { 'content-type': 'application/cloudevents-batch+json' };
const binaryHeaders = { 'content-type': 'application/json', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't', 'ce-specversion': '1.0' };
const json = (bytes) => JSON.stringify('x'.repeat(bytes - 2));

async function withExpress(middleware, run) {
  const app = express();
  app.use(middleware);
  app.post('/', (request, response) => response.sendStatus(204));
  app.use((error, request, response, next) => response.sendStatus(error.status ?? 500));
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    await run(async (body, headers) => (await fetch(`http://127.0.0.1:${server.address().port}/`, { method: 'POST', body, headers })).status);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

test('Express refuses more than 100 kB unless a limit is set', async () => {
  for (const make of [express.json, express.text, express.raw]) {
    const options = { type: 'application/json', strict: false };
    await withExpress(make(options), async (post) => {
      assert.equal(await post(json(100 * 1024), binaryHeaders), 204);
      assert.equal(await post(json(100 * 1024 + 1), binaryHeaders), 413);
    });
    await withExpress(make({ ...options, limit: '64mb' }), async (post) => assert.equal(await post(json(2 << 20), binaryHeaders), 204));
  }
});

test('Fastify refuses more than 1 MiB unless a limit is set', async () => {
  for (const [options, want] of [[{}, 413], [{ bodyLimit: 64 << 20 }, 204]]) {
    const app = Fastify(options);
    app.post('/', (request, reply) => reply.code(204).send());
    assert.equal((await app.inject({ method: 'POST', url: '/', payload: json(1 << 20), headers: binaryHeaders })).statusCode, 204);
    assert.equal((await app.inject({ method: 'POST', url: '/', payload: json((1 << 20) + 1), headers: binaryHeaders })).statusCode, want);
  }
});

test('Fastify refuses types that it has no parser for', async () => {
  const app = Fastify();
  app.post('/', (request, reply) => reply.code(204).send());
  for (const type of ['application/octet-stream', 'application/cloudevents+json', 'application/cloudevents-batch+json']) {
    const { statusCode } = await app.inject({ method: 'POST', url: '/', payload: '[]', headers: { 'content-type': type } });
    assert.equal(statusCode, 415, type);
  }
});

test('express.json does not read the types of CloudEvents', async () => {
  const app = express();
  app.use(express.json());
  let body = null;
  app.post('/', (request, response) => { body = request.body; response.sendStatus(204); });
  const server = app.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  await fetch(`http://127.0.0.1:${server.address().port}/`, { method: 'POST', body: batch, headers: batchHeaders });
  server.close();
  server.closeAllConnections();
  assert.equal(body, undefined);
});

test('the SDK reads a batch as text, not as a parsed array', () => {
  assert.deepEqual(HTTP.toEvent({ headers: batchHeaders, body: batch }).map(({ id }) => id), ['1', '2']);
  assert.throws(() => HTTP.toEvent({ headers: batchHeaders, body: JSON.parse(batch) }));
});

test('the SDK loses the data of a structured event that is a Buffer', () => {
  const headers = { 'content-type': 'application/cloudevents+json' };
  assert.deepEqual(HTTP.toEvent({ headers, body: JSON.stringify(event('1')) }).data, { event: 'open' });
  assert.equal(HTTP.toEvent({ headers, body: Buffer.from(JSON.stringify(event('1'))) }).data, undefined);
});
