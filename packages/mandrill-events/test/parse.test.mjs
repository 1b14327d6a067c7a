import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';

import { CloudEvent, HTTP } from 'cloudevents';
import { is, isAlert, isMandrillEvent, parse, ParseError, typeOf } from '@mandrill-operator/events';

const fixtures = JSON.parse(readFileSync(new URL('fixtures.json', import.meta.url), 'utf8'));
const plain = (value) => JSON.parse(JSON.stringify(value));

test('every event has the normal form that the Go package gives it', () => {
  let refused = 0;
  for (const { name, type, raw, normal } of fixtures) {
    const before = JSON.stringify(raw);
    if (normal === undefined) {
      refused++;
      assert.throws(() => parse({ type, data: raw }), ParseError, `${name}: ${before}`);
    } else {
      assert.deepEqual(plain(parse({ type, data: raw }).data), normal, name);
    }
    assert.equal(JSON.stringify(raw), before, `${name} was changed`);
  }
  assert.ok(fixtures.length > 30 && refused > 5);
});

test('the normal form stays as it is', () => {
  for (const { name, type, normal } of fixtures.filter((each) => each.normal !== undefined)) {
    assert.deepEqual(plain(parse({ type, data: normal }).data), normal, name);
  }
});

test('CommonJS gets the same', () => {
  const common = createRequire(import.meta.url)('@mandrill-operator/events');
  for (const { type, raw, normal } of fixtures.filter((each) => each.normal !== undefined)) {
    assert.deepEqual(plain(common.parse({ type, data: raw }).data), normal);
  }
});

test('events of the SDK are read in each content mode, however a framework has parsed the body', () => {
  const { type, raw, normal } = fixtures.find(({ name }) => name === 'hard_bounce');
  const sent = new CloudEvent({ type, source: '/s', id: '1', datacontenttype: 'application/json', dataschema: 'https://mandrill-operator.io/schemas/v1/x.json', data: raw });
  const structured = JSON.stringify(sent);
  const headers = { 'content-type': 'application/json', 'ce-id': '1', 'ce-source': '/s', 'ce-type': type, 'ce-specversion': '1.0' };
  for (const [mode, message] of Object.entries({
    'Binary, text': { headers, body: JSON.stringify(raw) },
    'Binary, parsed': { headers, body: raw },
    'Binary, buffer': { headers, body: Buffer.from(JSON.stringify(raw)) },
    'Structured, text': { headers: { 'content-type': 'application/cloudevents+json' }, body: structured },
    'Structured, parsed': { headers: { 'content-type': 'application/cloudevents+json' }, body: JSON.parse(structured) },
    'Batched, text': { headers: { 'content-type': 'application/cloudevents-batch+json' }, body: `[${structured}]` },
    'Batched, buffer': { headers: { 'content-type': 'application/cloudevents-batch+json' }, body: Buffer.from(`[${structured}]`) },
  })) {
    const [event] = [HTTP.toEvent(message)].flat();
    assert.deepEqual(plain(parse(event).data), normal, mode);
  }
});

test('attributes are as docs/events.md says: the SDK does not decode', () => {
  const headers = { 'content-type': 'application/json', 'ce-id': '1', 'ce-source': '/s', 'ce-type': 't', 'ce-specversion': '1.0' };
  for (const value of ['two words', '100%25', 'say %22x%22', 'caf%C3%A9']) {
    assert.equal(HTTP.toEvent({ headers: { ...headers, 'ce-tag': value }, body: '{}' }).tag, value);
  }
});

test('data that are not UTF-8 come as base64, and are read', () => {
  const type = 'com.mandrill.message.send';
  const bytes = Buffer.from('{"event":"send","msg":{"subject":"\xe9"}}', 'latin1');
  const structured = JSON.stringify({ specversion: '1.0', id: '1', source: '/s', type, datacontenttype: 'application/octet-stream', data_base64: bytes.toString('base64') });
  const headers = { 'content-type': 'application/octet-stream', 'ce-id': '1', 'ce-source': '/s', 'ce-type': type, 'ce-specversion': '1.0' };
  for (const message of [{ headers: { 'content-type': 'application/cloudevents+json' }, body: structured }, { headers, body: bytes }]) {
    assert.equal(parse(HTTP.toEvent(message)).data.msg.subject, '\ufffd');
  }
});

test('alerts of the operator are told from events of Mandrill', () => {
  const { type, raw } = fixtures.find(({ name }) => name === 'io.mandrill-operator.webhook.sink_failing');
  assert.ok(isAlert({ type }) && !isMandrillEvent({ type }));
  assert.ok(!isAlert({ type: 'com.mandrill.message.send' }) && !isAlert({ type: 'io.mandrill-operator.webhook.other' }));
  const parsed = parse({ type, data: raw });
  assert.ok(is(parsed, 'io.mandrill-operator.webhook.sink_failing') && parsed.data.lastFailure.status === 503);
});

test('what has no name is data as they are', () => {
  assert.deepEqual(parse({ type: 'com.mandrill.unknown', data: [1] }), { type: 'com.mandrill.unknown', data: [1] });
  assert.deepEqual(parse({ type: 'com.mandrill.unknown', data_base64: '/w==' }).data, new Uint8Array([255]));
});

test('types are known by their names', () => {
  assert.equal(typeOf('com.mandrill.message.open'), 'com.mandrill.message.open');
  assert.equal(typeOf('com.mandrill.message.tomorrow'), 'com.mandrill.message.*');
  assert.equal(typeOf('com.mandrill.message.'), undefined);
  assert.equal(typeOf('toString'), undefined);
  assert.equal(isMandrillEvent({ type: 'com.example' }), false);
  assert.ok(is(parse({ type: 'com.mandrill.message.open', data: { event: 'open' } }), 'com.mandrill.message.click', 'com.mandrill.message.open'));
});

test('errors say where, and never what', () => {
  for (const [type, data, want] of [
    ['com.example', {}, /not a type of Mandrill's events/],
    ['com.mandrill.message.open', { event: 'click' }, /^event: /],
    ['com.mandrill.message.open', '{"event":', /^not valid JSON$/],
    ['com.mandrill.message.open', [], /^want an object$/],
    ['com.mandrill.message.open', { event: 'open', msg: { tags: ['a', { secret: 1 }] } }, /^msg\.tags\[1\]: want a string, a number or null$/],
    ['com.mandrill.inbound', { event: 'inbound', msg: { headers: { secret: { a: {} } } } }, /^msg\.headers\[0\]\[0\]: want a string, a number or null$/],
  ]) {
    assert.throws(() => parse({ type, data }), (error) => error instanceof ParseError && want.test(error.message) && !error.message.includes('secret'));
  }
});

test('__proto__ is a name like others', () => {
  const { data } = parse({ type: 'com.mandrill.message.send', data: '{"event":"send","__proto__":{"polluted":1},"msg":{"metadata":{"__proto__":"x"}}}' });
  assert.equal(data.polluted, undefined);
  assert.deepEqual(Object.keys(data.msg.metadata), ['__proto__']);
});
