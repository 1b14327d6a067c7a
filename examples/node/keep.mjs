// What both consumers do with an event: they print it as a line of JSON, with the data in their normal form.
import { is, isMandrillEvent, parse, ParseError } from '@mandrill-operator/events';

export async function keep(event) {
  const line = { id: event.id, source: event.source, type: event.type };
  if (isMandrillEvent(event)) {
    try {
      const parsed = parse(event);
      line.data = parsed.data;
      if (is(parsed, 'com.mandrill.message.hard_bounce')) {
        console.error(`${parsed.data.msg.email} does not exist: ${parsed.data.msg.diag}`);
      }
    } catch (error) {
      if (!(error instanceof ParseError)) throw error;
      line.error = error.message; // the same event would fail again: accept it, and keep it where somebody looks at it
    }
  }
  if (line.data instanceof Uint8Array) line.data = Buffer.from(line.data).toString('base64'); // not JSON
  console.log(JSON.stringify(line));
}
