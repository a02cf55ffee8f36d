import {main} from './build.ts';

void main(process.env);
