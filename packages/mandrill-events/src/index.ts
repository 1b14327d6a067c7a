/**
 * Types of the data of the CloudEvents that mandrill-operator makes of Mandrill's events and of its own alerts, and a parser that removes
 * the quirks of PHP: [] for {}, an element for a list, a number for a string, null and missing fields, fields and lists with several names.
 */
import type { DataByType } from './types.js';
import { types } from './fields.js';
import { isObject, ParseError, structure } from './values.js';

export type * from './types.js';
export { ParseError };

/** A type of {@link DataByType}. */
export type MandrillEventType = keyof DataByType;

/** Data of an event, with their type. Types that Mandrill may add have an asterisk as their last part. */
export type Parsed = { [T in MandrillEventType]: { type: T; data: DataByType[T] } }[MandrillEventType];

/** A CloudEvent, such as one of the npm package cloudevents. */
export interface Event {
  type: string;
  data?: unknown;
  data_base64?: string | undefined;
}

const unknownType = 'com.mandrill.unknown';

/**
 * Returns the type under which {@link parse} returns the events of a CloudEvents type. undefined: it is neither of Mandrill's events nor an
 * alert of the operator.
 */
export function typeOf(ceType: string): MandrillEventType | undefined {
  if (ceType === unknownType || (Object.hasOwn(types, ceType) && !ceType.endsWith('.'))) {
    return ceType as MandrillEventType;
  }
  for (const prefix of ['com.mandrill.message.', 'com.mandrill.sync.'] as const) {
    if (ceType.startsWith(prefix) && ceType !== prefix) {
      return `${prefix}*`;
    }
  }
  return undefined;
}

/** Reports whether a CloudEvent is one of Mandrill's events, not one of another source or an alert of the operator. */
export function isMandrillEvent(event: Event): boolean {
  return typeOf(event.type) !== undefined && !isAlert(event);
}

/** Reports whether a CloudEvent is an alert of the operator, so that {@link parse} knows its type. */
export function isAlert(event: Event): boolean {
  return event.type.startsWith('io.mandrill-operator.webhook.') && typeOf(event.type) !== undefined;
}

/** Reports whether a parsed event is of one of the types, and narrows it. */
export function is<T extends MandrillEventType>(parsed: Parsed, ...wanted: T[]): parsed is Extract<Parsed, { type: T }> {
  return (wanted as string[]).includes(parsed.type);
}

/**
 * Returns the data of a CloudEvent in the normal form. Fields that are not known are kept. The event is not changed.
 *
 * @throws {ParseError} if the type is none of Mandrill's, or if a field has a value of a kind that was neither documented nor seen.
 */
export function parse(event: Event): Parsed {
  const type = typeOf(event.type);
  if (type === undefined) {
    throw new ParseError(`not a type of Mandrill's events: ${event.type}`);
  }
  const data = json(event, type === unknownType);
  if (type === unknownType) {
    return { type, data };
  }
  const entry = types[type.replace(/\*$/, '')]!;
  if (!isObject(data)) {
    throw new ParseError('want an object');
  }
  const decoded = structure(data, entry.structure, '');
  normalize(decoded, entry.constants);
  checkType(event.type, entry.constants, decoded);
  return { type, data: decoded } as unknown as Parsed;
}

/** Returns the data as JSON values, whatever the framework made of them. */
function json(event: Event, asTheyAre: boolean): unknown {
  let data = event.data;
  if (event.data_base64 !== undefined) { // of other types SDKs make words of four bytes
    data = Uint8Array.from(atob(event.data_base64), (c) => c.charCodeAt(0));
  }
  if (asTheyAre) {
    return data;
  }
  if (data instanceof Uint8Array) {
    data = new TextDecoder('utf-8', { ignoreBOM: true }).decode(data);
  }
  if (typeof data !== 'string') {
    return data;
  }
  try {
    return JSON.parse(data);
  } catch {
    throw new ParseError('not valid JSON');
  }
}

const listNames: Record<string, string> = {
  allowlist: 'allowlist', whitelist: 'allowlist', safelist: 'allowlist', denylist: 'denylist', blacklist: 'denylist', blocklist: 'denylist',
};

/** Takes the id from the message, and gives a list its current name. */
function normalize(data: Record<string, unknown>, constants: Record<string, string[] | null>): void {
  const message = data['msg'];
  if ('event' in constants && data['event'] !== 'inbound' && data['_id'] === undefined && isObject(message) && typeof message['_id'] === 'string') {
    data['_id'] = message['_id'];
  }
  if ('type' in constants && typeof data['type'] === 'string' && Object.hasOwn(listNames, data['type'])) {
    data['type'] = listNames[data['type']];
  }
}

/** Compares the names in the data with the type of the CloudEvent. */
function checkType(ceType: string, constants: Record<string, string[] | null>, data: Record<string, unknown>): void {
  const names = Object.keys(constants);
  if (names.length === 0) { // an alert
    return;
  }
  for (const name of names) {
    const allowed = constants[name];
    if (data[name] === '' || (allowed && !allowed.includes(String(data[name])))) {
      throw new ParseError(`${name}: not that of an event of the type ${ceType}`);
    }
  }
  const want = names.includes('event') ? `com.mandrill.message.${data['event']}` : `com.mandrill.sync.${data['type']}.${data['action']}`;
  if (ceType !== want && ceType !== 'com.mandrill.inbound') {
    throw new ParseError(`the data are not those of an event of the type ${ceType}`);
  }
}
