// A consumer with Fastify, for all three content modes.
import Fastify from 'fastify';
import { HTTP } from 'cloudevents';
import { keep } from './keep.mjs';

// The limit is 1 MiB unless one is set, and the 413 above it makes a dead letter of the event.
const app = Fastify({ bodyLimit: 64 * 1024 * 1024 });

// The SDK wants the body as text: it cannot read a batch that Fastify has parsed. Only data that are not JSON are bytes. Fastify answers
// 415 to a type without a parser, which makes a dead letter too.
const asItIs = (request, body, done) => done(null, body);
app.removeContentTypeParser('application/json');
const json = ['application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json'];
app.addContentTypeParser(json, { parseAs: 'string' }, asItIs);
app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, asItIs);

app.post('/', async (request, reply) => {
  let received;
  try {
    received = HTTP.toEvent({ headers: request.headers, body: request.body }); // a list in Batched mode
  } catch {
    return reply.code(400).send('not a CloudEvent'); // final: the receiver makes a dead letter of it
  }
  for (const event of [received].flat()) {
    await keep(event); // if it throws, Fastify answers 500, and the receiver sends the request again
  }
  return reply.code(204).send();
});

await app.listen({ port: Number(process.env.PORT ?? 8080), host: process.env.HOST ?? '0.0.0.0' });
process.on('SIGTERM', () => app.close());
