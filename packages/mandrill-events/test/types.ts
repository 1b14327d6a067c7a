// Compiled by the tests and not run: the types narrow as the README says.
import { CloudEvent } from 'cloudevents';
import { is, parse, type HardBounce, type Parsed } from '@mandrill-operator/events';

export function use(event: CloudEvent<unknown>): string | undefined {
  const parsed: Parsed = parse(event);
  switch (parsed.type) {
    case 'com.mandrill.message.hard_bounce': {
      const data: HardBounce = parsed.data;
      return data.msg.diag;
    }
    case 'com.mandrill.sync.denylist.add':
      return parsed.data.reject.email;
    case 'com.mandrill.inbound':
      return parsed.data.msg.headers['Message-Id']?.[0];
    case 'com.mandrill.message.*':
      return parsed.data.event;
  }
  if (is(parsed, 'com.mandrill.message.open', 'com.mandrill.message.click')) {
    // @ts-expect-error an open has no such field of a known type
    const wrong: number = parsed.data.ip;
    return wrong === undefined ? undefined : parsed.data.location?.country;
  }
  return undefined;
}
