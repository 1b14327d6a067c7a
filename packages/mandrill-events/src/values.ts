import type { Field } from './table.js';
import { structures } from './fields.js';

/** Says that data are not those of an event of their type. It names the field, never a value. */
export class ParseError extends Error {
  override readonly name = 'ParseError';
}

type Json = Record<string, unknown>;

export const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Sets an own property, also one that is named __proto__. */
function set(target: Json, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
}

/** PHP may mean no value. */
function isNothing(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.length === 0) || (isObject(value) && Object.keys(value).length === 0);
}

/** Returns a string, or the digits of a number. null is an empty string. undefined: it is neither. */
function scalar(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return value;
    case 'number':
      return String(value);
  }
  return value === null ? '' : undefined;
}

function fail(path: string, want: string): never {
  throw new ParseError(`${path}: want ${want}`);
}

const text = (value: unknown, path: string): string => scalar(value) ?? fail(path, 'a string, a number or null');

const numberForm = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;

/** Returns a text as a number. undefined: it is none. */
function finite(value: string): number | undefined {
  const number = Number(value);
  return numberForm.test(value) && Number.isFinite(number) ? number : undefined;
}

const lastSecond = 253402300799; // 9999-12-31T23:59:59Z

function timestamp(value: unknown, path: string): number | undefined {
  const seconds = finite(text(value, path));
  return seconds !== undefined && seconds > 0 && seconds <= lastSecond ? Math.round(seconds * 1e6) / 1e6 : undefined;
}

function integer(value: unknown, path: string): number | undefined {
  const number = finite(text(value, path));
  return number !== undefined && Number.isInteger(number) && Math.abs(number) <= 2 ** 53 && number !== 0 ? number : undefined;
}

function flag(value: unknown, path: string): boolean | undefined {
  if (typeof value === 'boolean') {
    return value;
  }
  const word = scalar(value) ?? fail(path, 'a boolean, a string, a number or null');
  return word === '' ? undefined : word !== 'false' && finite(word) !== 0;
}

/** Returns the elements of a list. PHP makes an object of a list with gaps: its values are the elements. */
function elements(value: unknown, path: string): unknown[] {
  if (value === null) {
    return [];
  }
  return Array.isArray(value) ? value : isObject(value) ? Object.values(value) : fail(path, 'a list, an object or null');
}

/** Returns the entries of a map. PHP makes a list of a map whose names are the numbers from zero. */
function entries(value: unknown, path: string): [string, unknown][] {
  if (value === null) {
    return [];
  }
  return typeof value === 'object' ? Object.entries(value) : fail(path, 'an object, a list or null');
}

function texts(value: unknown, path: string): string[] {
  const one = scalar(value);
  if (one !== undefined) {
    return one === '' ? [] : [one];
  }
  return elements(value, path).flatMap((element, i) => {
    const word = text(element, `${path}[${i}]`);
    return element === null ? [] : [word];
  });
}

function address(value: unknown, path: string): [string, string] {
  const one = scalar(value);
  if (one !== undefined) {
    return [one, ''];
  }
  const parts = elements(value, path).map(scalar);
  if (parts.length > 2 || parts.includes(undefined)) {
    fail(path, 'an address, or a pair of address and name');
  }
  return [parts[0] ?? '', parts[1] ?? ''];
}

function addresses(value: unknown, path: string): [string, string][] {
  const one = scalar(value);
  const list = one === undefined ? elements(value, path).map((element, i) => address(element, `${path}[${i}]`)) : [address(one, path)];
  return list.filter(([email, name]) => email !== '' || name !== '');
}

function headers(value: unknown, path: string): Record<string, string[]> {
  const list = {};
  entries(value, path).forEach(([name, each], i) => set(list, name, texts(each, `${path}[${i}]`)));
  return list;
}

function metadata(value: unknown, path: string): Json {
  const all = {};
  entries(value, path).forEach(([name, each]) => set(all, name, each));
  return all;
}

function objectMap(value: unknown, f: Field, path: string): Json {
  const all: Json = {};
  entries(value, path).forEach(([place, each], i) => {
    if (isNothing(each)) {
      return;
    }
    const part = structure(each, f.of!, `${path}[${i}]`);
    const own = typeof part['name'] === 'string' ? part['name'] : '';
    let name = Array.isArray(value) && own !== '' ? own : place;
    while (Object.hasOwn(all, name)) {
      name += '+';
    }
    set(all, name, { name, ...part });
  });
  return all;
}

function optionalObject(value: unknown, f: Field, path: string): Json | undefined {
  if (isNothing(value)) {
    return undefined;
  }
  const word = scalar(value);
  if (f.orText && word !== undefined) {
    return word === '' ? undefined : { [structures[f.of!]![0]!.name]: word };
  }
  return structure(value, f.of!, path);
}

/** Returns the value of a field in the normal form. undefined: there is none. */
function decode(value: unknown, f: Field, path: string): unknown {
  switch (f.kind) {
    case 'text':
      return text(value, path) || undefined;
    case 'timestamp':
      return timestamp(value, path);
    case 'integer':
      return integer(value, path);
    case 'number':
    case 'optionalNumber':
      return finite(text(value, path));
    case 'flag':
    case 'optionalFlag':
      return flag(value, path);
    case 'texts':
      return texts(value, path);
    case 'list':
      return elements(value, path);
    case 'addresses':
      return addresses(value, path);
    case 'headers':
      return headers(value, path);
    case 'metadata':
      return metadata(value, path);
    case 'object':
      return structure(value, f.of!, path);
    case 'optionalObject':
      return optionalObject(value, f, path);
    case 'objects':
      return elements(value, path).flatMap((each, i) => (isNothing(each) ? [] : [structure(each, f.of!, `${path}[${i}]`)]));
    case 'objectMap':
      return objectMap(value, f, path);
  }
}

/** What fields have that are always there. */
const empty: Partial<Record<Field['kind'], () => unknown>> = {
  text: () => '', number: () => 0, flag: () => false, texts: () => [], list: () => [], addresses: () => [], headers: () => ({}), metadata: () => ({}), objects: () => [], objectMap: () => ({}),
};

/** Whether a decoded value is as good as none, so that the alias counts. */
const isEmpty = (value: unknown, f: Field): boolean => value === undefined || (f.kind === 'object' && isEmptyStructure(value as Json, f.of!));

function isEmptyStructure(value: Json, name: string): boolean {
  const none = structure({}, name, '');
  return Object.keys(value).length === Object.keys(none).length && JSON.stringify(value) === JSON.stringify(none);
}

/** Decodes an object. null and [] have no fields. */
export function structure(value: unknown, name: string, path: string): Json {
  if (!isObject(value) && !isNothing(value)) {
    fail(path, 'an object, [] or null');
  }
  const source = isObject(value) ? value : {};
  const decoded: Json = {};
  const used = new Set<string>();
  for (const f of structures[name]!) {
    let found: unknown;
    for (const each of f.alias === undefined ? [f.name] : [f.name, f.alias]) {
      if (!Object.hasOwn(source, each)) {
        continue;
      }
      const candidate = decode(source[each], f, path === '' ? each : `${path}.${each}`);
      if (isEmpty(found, f) || isEmpty(candidate, f)) {
        used.add(each);
      }
      if (isEmpty(found, f)) {
        found = candidate;
      }
    }
    found ??= f.omit ? undefined : f.kind === 'object' ? structure({}, f.of!, '') : empty[f.kind]!();
    if (found !== undefined) {
      set(decoded, f.name, found);
    }
  }
  for (const each of Object.keys(source)) {
    if (!used.has(each) && !Object.hasOwn(decoded, each)) {
      set(decoded, each, source[each]);
    }
  }
  return decoded;
}
