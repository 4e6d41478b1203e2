// NEON instructions that Go's assembler does not have. A macro is named by the ARM mnemonic and the result's arrangement, and
// takes the numbers of registers in ARM's order, the result first: FMUL4S(2, 0, 1) is FMUL V2.4S, V0.4S, V1.4S. An E
// in front of the arrangement means that the last operand is element i of its register. What Go has (VADD, VTBL, VUMAX,
// VBSL, ...) is written as Go has it, the result last.

// Float32.
#define FADD4S(d, n, m)     WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))                              // FADD Vd.4S, Vn.4S, Vm.4S
#define FSUB4S(d, n, m)     WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))                              // FSUB Vd.4S, Vn.4S, Vm.4S
#define FMUL4S(d, n, m)     WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))                              // FMUL Vd.4S, Vn.4S, Vm.4S
#define FMULE4S(d, n, m, i) WORD $(0x4F809000 | (m)<<16 | ((i)&1)<<21 | ((i)>>1)<<11 | (n)<<5 | (d)) // FMUL Vd.4S, Vn.4S, Vm.S[i]
#define FDIV4S(d, n, m)     WORD $(0x6E20FC00 | (m)<<16 | (n)<<5 | (d))                              // FDIV Vd.4S, Vn.4S, Vm.4S
#define FABS4S(d, n)        WORD $(0x4EA0F800 | (n)<<5 | (d))                                        // FABS Vd.4S, Vn.4S
#define FADDP4S(d, n, m)    WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))                              // FADDP Vd.4S, Vn.4S, Vm.4S
#define FMAX4S(d, n, m)     WORD $(0x4E20F400 | (m)<<16 | (n)<<5 | (d))                              // FMAX Vd.4S, Vn.4S, Vm.4S
#define FMAXV4S(d, n)       WORD $(0x6E30F800 | (n)<<5 | (d))                                        // FMAXV Sd, Vn.4S
#define FCMGT4S(d, n, m)    WORD $(0x6EA0E400 | (m)<<16 | (n)<<5 | (d))                              // FCMGT Vd.4S, Vn.4S, Vm.4S
#define FACGT4S(d, n, m)    WORD $(0x6EA0EC00 | (m)<<16 | (n)<<5 | (d))                              // FACGT Vd.4S, Vn.4S, Vm.4S
#define FCMGEZ4S(d, n)      WORD $(0x6EA0C800 | (n)<<5 | (d))                                        // FCMGE Vd.4S, Vn.4S, #0.0

// Conversions.
#define SCVTF4S(d, n)  WORD $(0x4E21D800 | (n)<<5 | (d)) // SCVTF Vd.4S, Vn.4S
#define FCVTNS4S(d, n) WORD $(0x4E21A800 | (n)<<5 | (d)) // FCVTNS Vd.4S, Vn.4S
#define FCVTL4S(d, n)  WORD $(0x0E217800 | (n)<<5 | (d)) // FCVTL Vd.4S, Vn.4H
#define FCVTL24S(d, n) WORD $(0x4E217800 | (n)<<5 | (d)) // FCVTL2 Vd.4S, Vn.8H
#define FCVTN4H(d, n)  WORD $(0x0E216800 | (n)<<5 | (d)) // FCVTN Vd.4H, Vn.4S
#define FCVTN28H(d, n) WORD $(0x4E216800 | (n)<<5 | (d)) // FCVTN2 Vd.8H, Vn.4S

// Integers made wider or narrower.
#define SXTL8H(d, n)  WORD $(0x0F08A400 | (n)<<5 | (d)) // SXTL Vd.8H, Vn.8B
#define SXTL28H(d, n) WORD $(0x4F08A400 | (n)<<5 | (d)) // SXTL2 Vd.8H, Vn.16B
#define SXTL4S(d, n)  WORD $(0x0F10A400 | (n)<<5 | (d)) // SXTL Vd.4S, Vn.4H
#define SXTL24S(d, n) WORD $(0x4F10A400 | (n)<<5 | (d)) // SXTL2 Vd.4S, Vn.8H
#define SHLL4S(d, n)  WORD $(0x2E613800 | (n)<<5 | (d)) // SHLL Vd.4S, Vn.4H, #16
#define SHLL24S(d, n) WORD $(0x6E613800 | (n)<<5 | (d)) // SHLL2 Vd.4S, Vn.8H, #16

// Integer products and sums of pairs.
#define SMULL8H(d, n, m)    WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d))                              // SMULL Vd.8H, Vn.8B, Vm.8B
#define SMULL28H(d, n, m)   WORD $(0x4E20C000 | (m)<<16 | (n)<<5 | (d))                              // SMULL2 Vd.8H, Vn.16B, Vm.16B
#define SMLAL8H(d, n, m)    WORD $(0x0E208000 | (m)<<16 | (n)<<5 | (d))                              // SMLAL Vd.8H, Vn.8B, Vm.8B
#define SMLAL28H(d, n, m)   WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d))                              // SMLAL2 Vd.8H, Vn.16B, Vm.16B
#define SADDLP8H(d, n)      WORD $(0x4E202800 | (n)<<5 | (d))                                        // SADDLP Vd.8H, Vn.16B
#define SADDLP4S(d, n)      WORD $(0x4E602800 | (n)<<5 | (d))                                        // SADDLP Vd.4S, Vn.8H
#define SADALP8H(d, n)      WORD $(0x4E206800 | (n)<<5 | (d))                                        // SADALP Vd.8H, Vn.16B
#define SADALP4S(d, n)      WORD $(0x4E606800 | (n)<<5 | (d))                                        // SADALP Vd.4S, Vn.8H
#define ADDP4S(d, n, m)     WORD $(0x4EA0BC00 | (m)<<16 | (n)<<5 | (d))                              // ADDP Vd.4S, Vn.4S, Vm.4S
#define SADDLV8H(d, n)      WORD $(0x4E703800 | (n)<<5 | (d))                                        // SADDLV Sd, Vn.8H
#define SDOTE4S(d, n, m, i) WORD $(0x4F80E000 | (m)<<16 | ((i)&1)<<21 | ((i)>>1)<<11 | (n)<<5 | (d)) // SDOT Vd.4S, Vn.16B, Vm.4B[i]

// Integers otherwise.
#define ZERO16B(d)         WORD $(0x6F00E400 | (d))                              // MOVI Vd.2d, #0
#define UMAXV4S(d, n)      WORD $(0x6EB0A800 | (n)<<5 | (d))                     // UMAXV Sd, Vn.4S
#define BIC16B(d, n, m)    WORD $(0x4E601C00 | (m)<<16 | (n)<<5 | (d))           // BIC Vd.16B, Vn.16B, Vm.16B
#define EXT16B(d, n, m, i) WORD $(0x6E000000 | (m)<<16 | (i)<<11 | (n)<<5 | (d)) // EXT Vd.16B, Vn.16B, Vm.16B, #i
