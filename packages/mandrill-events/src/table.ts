/** What a field is in the normal form. */
export type Kind =
  | 'text' | 'timestamp' | 'integer' | 'number' | 'optionalNumber' | 'flag' | 'optionalFlag' | 'texts' | 'list' | 'addresses' | 'headers' | 'metadata'
  | 'object' | 'optionalObject' | 'objects' | 'objectMap';

export interface Field {
  name: string;
  kind: Kind;
  /** The structure of objects. */
  of?: string;
  /** Another name that is read. */
  alias?: string;
  /** Absent from the normal form when there is no value. */
  omit?: boolean;
  /** The object may be its first field alone. */
  orText?: boolean;
}

export type Structure = Field[];

export interface TypeEntry {
  structure: string;
  /** The fields that say which event it is, and the values that each may have. null: any name. */
  constants: Record<string, string[] | null>;
}
