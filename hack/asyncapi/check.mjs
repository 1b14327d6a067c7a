// Validates schemas/asyncapi.json with AsyncAPI's own parser, which also resolves the schemas that it refers to.
import { fromFile, Parser } from '@asyncapi/parser';

const file = new URL('../../schemas/asyncapi.json', import.meta.url).pathname;
const { document, diagnostics } = await fromFile(new Parser(), file).parse();
const faults = diagnostics.filter(({ severity }) => severity <= 1).map(({ path, message }) => `${path.join('.')}: ${message}`);
for (const message of document?.allMessages() ?? []) {
  if (message.name() !== 'com.mandrill.unknown' && Object.keys(message.payload()?.properties() ?? {}).length < 3) {
    faults.push(`${message.name()}: its schema was not resolved`);
  }
}
if (!document || document.allMessages().length < 19 || faults.length > 0) {
  console.error(['schemas/asyncapi.json has faults:', ...faults].join('\n'));
  process.exit(1);
}
