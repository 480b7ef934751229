"""The opcode maps that depend on a prefix: 0F, 0F 38, 0F 3A and those of VEX and EVEX.

A row is a map, the prefix that counts (for VEX and EVEX: their field ``pp``), a mark and the
opcodes. The marks are those of :mod:`kprobesim.arch.x86_64.opcodes`; ``D`` and ``N`` are ModR/M
with an immediate of 32 and 16 bits whatever the prefixes, ``!`` is no instruction. ``M+26``: only
with 2 or 6 in ModR/M.reg there is an immediate; ``M/26``: only with these it is an instruction.
What no row names is no vector instruction, and nothing follows an opcode of the other maps.

That is what the kernel's decoder knows of the architecture (arch/x86/lib/insn.c with
x86-opcode-map.txt, asked opcode by opcode in 6.16, with ``c`` for what the processor ignores):
where the kernel knows no instruction it sees no ModR/M either, and instructions are counted as it
counts them. Only the *last* legacy prefix counts, so ``66 2E 0F 6F`` is found without 66.
"""

from __future__ import annotations

__all__ = ["MAPS"]

MAPS = """
0f    -   m        00-03 0d 10-18 1a-1c 1e-1f 28-2f 40-6b 6e-6f 74-76 78-79 7e-7f 90-9f a3 a5-a7 ab
                   ad-b7 b9 bb-c1 c3 c7 d1-d5 d7-e5 e7-ef f1-fe
0f    -   M        0f 70 a4 ac ba c2 c4-c6
0f    -   c        20-23
0f    -   x        38 3a
0f    -   M+246    71-72
0f    -   M+26     73
0f    -   R        80-8f
0f    66  m        00-03 0d 10-18 1a-1c 1e-1f 28-2f 40-51 54-6f 74-76 7c-7f 90-9f a3 a5-a7 ab ad-b7
                   b9 bb-c1 c3 c7 d0-ef f1-fe
0f    66  M        0f 70 a4 ac ba c2 c4-c6
0f    66  c        20-23
0f    66  x        38 3a
0f    66  M+246    71
0f    66  M+01246  72
0f    66  M+2367   73
0f    66  !        78-7b
0f    66  R        80-8f
0f    f3  m        00-03 0d 10-12 16 18 1a-1c 1e-1f 2a 2c-2d 40 43 48-49 4c-4f 51-53 58-5f 6f 71-73
                   7e-7f 94-97 9a-9f a3 a5-a7 ab ad-b9 bb-c1 c3 c7 d6 e6
0f    f3  M        0f 70 a4 ac ba c2
0f    f3  c        20-23
0f    f3  x        38 3a
0f    f3  !        78-7b
0f    f3  R        80-8f
0f    f2  m        00-03 0d 10-12 18 1a-1c 1e-1f 2a 2c-2d 40 43 48-49 4c-4f 51 58-5a 5c-5f 71-73
                   7c-7d 92-97 9a-9f a3 a5-a7 ab ad-b7 b9 bb-c1 c3 c7 d0 d6 e6 f0
0f    f2  M        0f 70 a4 ac ba c2
0f    f2  c        20-23
0f    f2  x        38 3a
0f    f2  !        6f 78-7b 7f
0f    f2  R        80-8f
0f38  -   m        00-0b 1c-1e 49 5e 6c c6-cd da f0-f1 f3 f6 f9 fc
0f38  -   !        50-51 b0 d2-d3 f2 f5 f7
0f38  66  m        00-0b 10 14-15 17 1c-1e 20-25 28-2b 30-35 37-41 49 4b 50-53 5e 6c 80-82 b4-b5
                   c6-c7 c9 cf da-f1 f3 f5-f6 f8-f9 fc
0f38  66  !        0c-0f 11-13 16 18-1b 1f 26-27 2c-2f 36 42-47 4c-4f 54-55 58-5b 62-66 70-73 75-7f
                   83 88-93 96-a3 a6-b1 b6-bf c4 c8 ca-cd d2-d3 f2 f7
0f38  f3  !        10-15 20-2a 30-35 38-3a 4b 50-52 b0-b1 d2-d3 da f2 f5 f7
0f38  f3  m        5c 5e 72 c6-c7 c9 d8 dc-df f3 f6 f8-fc
0f38  f2  m        49 4b 5c 5e c6-c7 c9 f0-f1 f3 f8-f9 fc
0f38  f2  !        50-53 68 72 9a-9b aa-ab b0 cb-cd da f2 f5-f7
0f3a  -   M        08 0a 0f cc
0f3a  -   !        26-27 56-57 66-67 c2
0f3a  66  !        00-06 18-1b 1d-1f 23 25-27 30-33 38-3b 3e-3f 43 46 4a-4b 50-51 54-57 66-67 70-73
0f3a  66  M        08-0f 14-17 20-22 40-42 44 4c 60-63 cc ce-cf de-df
0f3a  f3  !        c2
0f3a  f3  M        cc f0
0f3a  f2  M        cc
0f3a  f2  !        f0
vex1  -   m        10-17 28-29 2b 2e-2f 41-42 44-47 4a-4b 50-5f 78-79 90-93 98-99
vex1  -   .        77
vex1  -   m/23     ae
vex1  -   M        c2 c6
vex1  66  m        10-17 28-29 2b 2e-2f 41-42 44-47 4a-4b 50-51 54-6f 74-76 7c-7f 90-93 98-99 d0-ef
                   f1-fe
vex1  66  M        70 c2 c4-c6
vex1  66  M/246    71
vex1  66  M/01246  72
vex1  66  M/2367   73
vex1  f3  m        10-12 16 2a 2c-2d 51-53 58-5f 6f 7e-7f e6
vex1  f3  M        70 c2
vex1  f2  m        10-12 2a 2c-2d 51 58-5a 5c-5f 7c-7d 92-93 d0 e6 f0
vex1  f2  M        70 c2
vex2  -   m        49 50-51 5e 6c b0 d2-d3 da f2 f5 f7
vex2  -   m/123    f3
vex2  66  m        00-10 13-1a 1c-1e 20-25 28-41 45-47 49 4b 50-53 58-5a 5e 6c 78-79 8c 8e 90-93
                   96-9f a6-b1 b4-bf cf d2-d3 da-ef f7
vex2  66  m/1256   c6-c7
vex2  66  m/123    f3
vex2  f3  m        4b 50-51 5c 5e 72 b0-b1 d2-d3 da f5 f7
vex2  f3  m/123    f3
vex2  f2  m        49 4b 50-51 5c 5e b0 cb-cd da f5-f7
vex2  f2  m/123    f3
vex3  -   M        08 0a
vex3  66  M        00-02 04-06 08-0f 14-19 1d 20-22 30-33 38-39 40-42 44 46 4a-4c 60-63 ce-cf de-df
vex3  f2  M        f0
vex7  f3  D        f8
vex7  f2  D        f8
evex1 -   m        10-17 28-29 2b 2e-2f 41-42 44-47 4a-4b 50-5f 78-79 90-93 98-99
evex1 -   .        77
evex1 -   m/23     ae
evex1 -   M        c2 c6
evex1 66  m        10-17 28-29 2b 2e-2f 41-42 44-47 4a-4b 50-51 54-6f 74-76 78-7f 90-93 98-99 d0-ef
                   f1-fe
evex1 66  M        70 c2 c4-c6
evex1 66  M/246    71
evex1 66  M/01246  72
evex1 66  M/2367   73
evex1 f3  m        10-12 16 2a 2c-2d 51-53 58-5f 6f 78-7b 7e-7f e6
evex1 f3  M        70 c2
evex1 f2  m        10-12 2a 2c-2d 51 58-5a 5c-5f 6f 78-7d 7f 92-93 d0 e6 f0
evex1 f2  M        70 c2
evex2 -   m        49 50-51 5e 6c b0 d2-d3 da f2 f5 f7
evex2 -   m/123    f3
evex2 66  m        00-47 49 4b-55 58-5b 5e 62-66 6c 70-73 75-7f 83 88-93 96-a3 a6-b1 b4-bf c4 c8 ca-
                   cd cf d2-d3 da-ef f7
evex2 66  m/1256   c6-c7
evex2 66  m/123    f3
evex2 f3  m        10-15 20-2a 30-35 38-3a 4b 50-52 5c 5e 72 b0-b1 d2-d3 da f5 f7
evex2 f3  m/123    f3
evex2 f2  m        49 4b 50-53 5c 5e 68 72 9a-9b aa-ab b0 cb-cd da f5-f7
evex2 f2  m/123    f3
evex3 -   M        08 0a 26-27 56-57 66-67 c2
evex3 66  M        00-06 08-0f 14-1b 1d-23 25-27 30-33 38-3b 3e-44 46 4a-4c 50-51 54-57 60-63 66-67
                   70-73 ce-cf de-df
evex3 f3  M        c2
evex3 f2  M        f0
evex4 -   m        00-03 08-0b 10-13 18-1b 20-23 28-2b 30-33 38-3b 40-4f 60-61 66 84-85 88 8f a5 ad
                   af d0-d3 f0-f1 f4-f5 f9 fe-ff
evex4 -   M        24 2c 6b 80 83 c0-c1
evex4 -   D        69 81
evex4 -   M+01     f6
evex4 -   D+01     f7
evex4 66  m        01 03 09 0b 11 13 19 1b 21 23 29 2b 31 33 39 3b 40-4f 60-61 65-66 85 88 a5 ad af
                   d0-d3 f1 f4-f5 f8 fe-ff
evex4 66  M        24 2c 6b 80 83 c0-c1
evex4 66  N        69 81
evex4 66  M+01     f6
evex4 66  N+01     f7
evex4 f3  m        66 d0-d3 f0-f2 f8 fe-ff
evex4 f3  M        80 83 c0-c1
evex4 f3  D        81
evex4 f3  M+01     f6
evex4 f3  D+01     f7
evex4 f2  m        40-4f d0-d3 f8 fe-ff
evex4 f2  M        80 83 c0-c1
evex4 f2  D        81
evex4 f2  M+01     f6
evex4 f2  D+01     f7
evex5 -   m        1d 2e-2f 51 58-5f 78-79 7c-7d
evex5 66  m        1d 5a-5b 6e 78-7e
evex5 f3  m        10-11 2a 2c-2d 51 58-5f 78-79 7b 7d
evex5 f2  m        5a 7a 7d
evex6 -   m        13
evex6 66  m        13 2c-2d 42-43 4c-4f 96-9f a6-af b6-bf
evex6 f3  m        56-57 d6-d7
evex6 f2  m        56-57 d6-d7
evex7 f3  D        f8
evex7 f2  D        f8
"""
