// The smallest program with a server; tools/size.ts measures it.
export {};
