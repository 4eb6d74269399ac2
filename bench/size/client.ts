// The smallest program with a client; tools/size.ts measures it.
export {};
