// A consumer with Express, for all three content modes.
import express from 'express';
import { HTTP } from 'cloudevents';
import { keep } from './keep.mjs';

const app = express();

// The SDK wants the body as text: it cannot read a batch that express.json has parsed. Only data that are not JSON are bytes. The limit
// is 100 kB unless one is set, and the 413 above it makes a dead letter of the event.
const limit = '64mb';
const json = ['application/json', 'application/cloudevents+json', 'application/cloudevents-batch+json'];
app.use(express.text({ type: json, limit }));
app.use(express.raw({ type: 'application/octet-stream', limit }));

app.post('/', async (request, response) => {
  let received;
  try {
    received = HTTP.toEvent({ headers: request.headers, body: request.body }); // a list in Batched mode
  } catch {
    response.status(400).send('not a CloudEvent'); // final: the receiver makes a dead letter of it
    return;
  }
  for (const event of [received].flat()) {
    await keep(event); // if it throws, Express answers 500, and the receiver sends the request again
  }
  response.sendStatus(204);
});

const server = app.listen(process.env.PORT ?? 8080, process.env.HOST);
process.on('SIGTERM', () => server.close());
